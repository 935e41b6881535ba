"""Metrics of questions and their answers."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from onlooker.core.metric_tables.buckets import LATENCY_BUCKETS_S, STEP_BUCKETS_S


class QuestionMetrics:
    """See `onlooker.core.metrics.Metrics`."""

    def _add_questions(self, registry: CollectorRegistry) -> None:
        self.questions = Counter(
            "onlooker_questions_total",
            "Questions by outcome: completed, incomplete, cancelled, failed, refused.",
            ["outcome"],
            registry=registry,
        )
        self.questions_active = Gauge(
            "onlooker_questions_active", "Answers being generated.", registry=registry
        )
        self.ttft_seconds = Histogram(
            "onlooker_question_ttft_seconds",
            "Arrival of a question to its first answer token.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.tpot_seconds = Histogram(
            "onlooker_question_tpot_seconds",
            "Per answer: (end to end - TTFT) / (output tokens - 1).",
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )

        self.answer_times = Counter(
            "onlooker_answer_times_total",
            "Times that answers named (at ... seconds): seen (a clip in view bears them), mended "
            "(none does, and the time of one that bears the answer out was told), unseen (none "
            "does, and what the model wrote stayed).",
            ["reading"],
            registry=registry,
        )

    def _add_second_looks(self, registry: CollectorRegistry) -> None:
        self.second_looks = Counter(
            "onlooker_second_looks_total",
            "Answers that were looked at before they were given: sure (given as they were), looked "
            "(given again with pictures), no_pictures (the album has none of what they rest on).",
            ["outcome"],
            registry=registry,
        )

    def _add_surveys(self, registry: CollectorRegistry) -> None:
        self.surveys = Counter(
            "onlooker_surveys_total",
            "Questions to several streams by how they ended: completed, incomplete (some streams "
            "were not heard), failed, cancelled, refused.",
            ["outcome"],
            registry=registry,
        )
        self.survey_parts = Counter(
            "onlooker_survey_parts_total",
            "What came of such questions to each stream: completed, incomplete, failed, refused, "
            "timed_out.",
            ["outcome"],
            registry=registry,
        )
