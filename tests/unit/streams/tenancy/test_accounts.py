"""`Accounts`: what is told of tenants, and how servers share their frames."""

from onlooker.cache_store.notices import Notice, NoticeBoard
from onlooker.cache_store.tenant_counts import RedisTenantCounts
from onlooker.core.clock import ManualClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.streams.tenancy.accounts import Accounts
from onlooker.streams.tenancy.fleet_link import FleetLink
from onlooker.streams.tenancy.limits import TenantsSection

URL = "unix:///nowhere.sock"


class NoCounts(RedisTenantCounts):
    """Takes everything, and counts nothing."""

    async def hold(self, held: object) -> None:
        pass

    async def add(self, batch: object) -> None:
        pass


class OneBoard(NoticeBoard):
    """Notices on a board in this process."""

    def __init__(self, server: str, notices: dict[str, str]) -> None:
        super().__init__(URL, namespace="n", server=server, lasts_s=60.0, timeout_s=5.0)
        self._name, self._notices = server, notices

    async def put_up(self, text: str) -> None:
        self._notices[self._name] = text

    async def read(self) -> list[Notice]:
        return [Notice(name, text, 0.0) for name, text in self._notices.items()]


def make_accounts(
    clock: ManualClock, metrics: Metrics, *, link: FleetLink | None = None, **settings: object
) -> Accounts:
    section = TenantsSection.model_validate(settings)
    return Accounts(section, clock=clock, metrics=metrics, every_s=1.0, name="a", link=link)


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"onlooker_tenant_{name}", labels)


async def test_more_tenants_than_have_labels_share_one() -> None:
    metrics = Metrics()
    accounts = make_accounts(ManualClock(), metrics, named={"vip": {}}, max_labelled=2)
    for tenant in ("first", "second", "third", "vip"):
        await accounts.of(tenant).ask()
        await accounts.of(tenant).open_stream("door")
    await accounts.settle()
    await accounts.of("third").ask()
    await accounts.settle()
    counts = {
        label: sample(metrics, "questions_total", tenant=label)
        for label in ("vip", "first", "second", "third", "other")
    }
    assert counts == {"vip": 1, "first": 1, "second": None, "third": None, "other": 3}
    assert sample(metrics, "streams_active", tenant="other") == 2


async def test_what_was_done_is_counted_once_however_often_it_is_told() -> None:
    metrics = Metrics()
    accounts = make_accounts(ManualClock(), metrics)
    accounts.of("acme").note_answer(10, 4, 3)
    for _ in range(3):
        await accounts.settle()
    assert sample(metrics, "tokens_total", tenant="acme", kind="input") == 10
    assert sample(metrics, "tokens_total", tenant="acme", kind="cached") == 4
    assert sample(metrics, "tokens_total", tenant="acme", kind="output") == 3


async def test_whoever_is_only_asked_about_leaves_nothing() -> None:
    accounts = make_accounts(ManualClock(), Metrics())
    assert [one.tenant for one in (await accounts.report("stranger")).tenants] == ["stranger"]
    assert (await accounts.report()).tenants == []


async def test_bytes_are_those_of_the_streams_that_are_remembered_now() -> None:
    accounts = make_accounts(ManualClock(), Metrics())
    accounts.note_remembered({StreamId("acme/door"): 5, StreamId("acme/yard"): 7})
    accounts.note_remembered({StreamId("acme/yard"): 8})
    assert accounts.of("acme").standing().memory_bytes == 8


async def test_servers_share_the_frames_of_a_tenant_by_what_they_are_offered() -> None:
    clock, metrics, notices = ManualClock(), Metrics(), dict[str, str]()
    servers = []
    for name in ("a", "b"):
        counts = NoCounts(URL, namespace="n", server=name, lasts_s=60.0, timeout_s=5.0)
        link = FleetLink(counts, OneBoard(name, notices), name=name, metrics=metrics)
        servers.append(make_accounts(clock, metrics, link=link, limits={"max_fps": 30}))
        await servers[-1].settle()
    taken = [0, 0]
    for second in range(30):
        for server in servers:
            await server.settle()
        for _ in range(60):  # 60 frames a second come to one server, 20 to the other
            clock.advance(1 / 60)
            for index, every in enumerate((1, 3)):
                is_due = _ % every == 0
                if is_due and servers[index].of("acme").check_frame(waits=False) is None:
                    taken[index] += second >= 10
    assert 20 * 30 * 0.97 <= sum(taken) <= 20 * 30 * 1.03
    assert 2.7 <= taken[0] / taken[1] <= 3.3
