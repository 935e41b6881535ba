"""The model card shows what was measured, between its markers, and keeps the rest."""

from __future__ import annotations

from onlooker.demo_model.card import START, STOP, fill, results_text, target_of

REPORT = {
    "settings": {
        "full": {"what": "64 clips", "families": {"now_color": {"accuracy": 0.5, "n": 4}}},
        "short": {"what": "8 clips", "families": {"unknown": {"accuracy": 1.0, "n": 2}}},
    },
    "check_threshold": 0.6,
    "check_accuracy_at_threshold": 0.975,
}


def test_results_name_every_family_setting_and_target() -> None:
    text = results_text(REPORT, {"clips": 3600, "recall": {"ever": {"@8": [0.25, 1.0]}}})
    assert "| now_color | 0.500 (4) | - | 0.98 |" in text
    assert "| unknown | - | 1.000 (2) | - |" in text
    assert "p(yes) >= 0.60" in text
    assert "| ever | 8 | 0.25 | 1.00 |" in text


def test_only_the_part_between_the_markers_changes() -> None:
    card = f"before\n{START}\nold\n{STOP}\nafter\n"
    assert fill(card, "new") == f"before\n{START}\nnew\n{STOP}\nafter\n"
    assert fill(fill(card, "new"), "new") == fill(card, "new")


def test_targets_are_those_of_whole_groups() -> None:
    assert target_of("at_time_digit") == 0.92
    assert target_of("narrate_silent") == 0.97
    assert target_of("unknown") is None
