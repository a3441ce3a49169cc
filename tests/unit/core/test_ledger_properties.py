"""The ledger against a simulated service: jobs of random length, other clients, lost tasks, moving limits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from airflow_riffusion.core.accounts import KnownAccounts
from airflow_riffusion.core.ledger import SlotLedger
from airflow_riffusion.core.request import SlotRequest
from tests.readings import configured, job, reading

HOLD = 60.0
ACCOUNTS = ("a", "b", "c")


@dataclass
class Service:
    """What the service knows: how many slots each account has, and which jobs run."""

    max_jobs: dict[str, int] = field(default_factory=lambda: {"a": 2, "b": 3})
    jobs: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    accepted: int = 0
    hides_full_accounts: bool = False

    def free(self) -> Counter[str]:
        busy = Counter(user_id for user_id, _ in self.jobs.values())
        return Counter({user_id: max(0, slots - busy[user_id]) for user_id, slots in self.max_jobs.items()})

    def submit(self, user_id: str, reference: str | None) -> bool:
        if not self.free()[user_id]:
            return False
        self.accepted += 1
        self.jobs[f"job{self.accepted}"] = (user_id, reference)
        return True

    def read(self):
        jobs = [job(job_id, user_id, reference) for job_id, (user_id, reference) in self.jobs.items()]
        slots = {
            user_id: (free, self.max_jobs[user_id])
            for user_id, free in self.free().items()
            if free or not self.hides_full_accounts
        }
        return reading(*jobs, **slots)


class LedgerMachine(RuleBasedStateMachine):
    """Waiters come and go, are granted slots, and submit, or never do; readings are taken now and then."""

    waiters = Bundle("waiters")
    references = True
    hides_full_accounts = False

    def __init__(self) -> None:
        super().__init__()
        self.ledger = SlotLedger()
        self.service = Service(hides_full_accounts=self.hides_full_accounts)
        self.known = KnownAccounts()
        self.now = 0.0
        self.number = 0
        self.waiting: dict[str, SlotRequest] = {}
        self.unsubmitted: dict[str, Counter[str]] = {}
        self.granted_at: dict[str, float] = {}
        self.unseen: dict[str, Counter[str]] = {}
        self.shown: set[str] = set()
        self.refused = 0
        if self.references:
            self.match_one_reference()

    def match_one_reference(self):
        """From the first exact match on, the ledger knows that jobs without a reference are others'."""
        self.ledger.join("first", SlotRequest(hold=HOLD))
        self.ledger.observe(self.service.read(), 0)
        self.ledger.observe(reading(job("job0", "a", "first"), a=0), 0)
        assert self.ledger.held == 0

    @rule(
        target=waiters,
        slots=st.sampled_from([1, 1, 1, 2, 3]),
        user_ids=st.none() | st.frozensets(st.sampled_from(ACCOUNTS), min_size=1),
        same_account=st.booleans(),
        priority=st.sampled_from([1, 1, 2]),
        since=st.integers(0, 20),
    )
    def join(self, slots, user_ids, same_account, priority, since):
        self.number += 1
        waiter_id = f"w{self.number:04d}"
        request = SlotRequest(slots, user_ids, same_account, HOLD, priority, since)
        self.ledger.join(waiter_id, request)
        self.waiting[waiter_id] = request
        return waiter_id

    @rule(waiter_id=consumes(waiters))
    def leave(self, waiter_id):
        self.ledger.leave(waiter_id)
        self.waiting.pop(waiter_id, None)

    @rule(seconds=st.sampled_from([1.0, 10.0, 35.0]))
    def pass_time(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.unsubmitted)
    @rule(data=st.data())
    def submit(self, data):
        """Let a task whose hold is still good use what it was granted."""
        grant_id = data.draw(st.sampled_from(sorted(self.unsubmitted)))
        for user_id in self.unsubmitted.pop(grant_id).elements():
            if self.held(grant_id):
                self.refused += not self.service.submit(user_id, grant_id if self.references else None)

    @precondition(lambda self: self.unsubmitted)
    @rule(data=st.data(), politely=st.booleans())
    def die(self, data, politely):
        """Let a task end before it submits, and give its grant back or not."""
        grant_id = data.draw(st.sampled_from(sorted(self.unsubmitted)))
        del self.unsubmitted[grant_id]
        if politely:
            self.ledger.give_back(grant_id)
            del self.unseen[grant_id]

    @precondition(lambda self: self.service.jobs)
    @rule(data=st.data())
    def end_a_job(self, data):
        del self.service.jobs[data.draw(st.sampled_from(sorted(self.service.jobs)))]

    @rule()
    def observe(self):
        seen = self.known.complete(self.service.read())
        order = sorted(
            self.waiting, key=lambda one: (-self.waiting[one].priority, self.waiting[one].since, one)
        )
        self.settle(seen)
        held_before = self.all_held()
        grants = {grant.grant_id: grant for grant in self.ledger.observe(seen, self.now)}

        taken: Counter[str] = Counter()
        for grant in grants.values():
            assert sum(grant.slots.values()) == grant.request.slots
            assert all(grant.request.usable(user_id) for user_id in grant.slots)
            assert not grant.request.same_account or len(grant.slots) == 1
            taken.update(grant.slots)
        reported = Counter({account.user_id: account.available for account in seen.accounts})
        self.nobody_was_passed_over(order, grants, seen)
        if self.references:  # without them only the ledger knows which hold a job settled
            assert taken <= reported - held_before
            self.nothing_usable_was_left(order, grants, reported - held_before - taken, seen)

        for grant_id, grant in grants.items():
            self.unsubmitted[grant_id] = Counter(grant.slots)
            self.unseen[grant_id] = Counter(grant.slots)
            self.granted_at[grant_id] = self.now
        for waiter_id in grants:
            del self.waiting[waiter_id]
        if self.ledger.needs_accounts:
            self.ask_for_accounts()

    def ask_for_accounts(self):
        """Let those waits end that no account can serve, and no other, whatever the readings listed."""
        accounts = configured(**self.service.max_jobs)
        for unsatisfiable in self.ledger.unsatisfiable(accounts):
            request = self.waiting.pop(unsatisfiable.waiter_id)
            assert not possible(request, reading(**{name: (0, n) for name, n in accounts.slots.items()}))
            self.ledger.leave(unsatisfiable.waiter_id)
        self.known.learn(accounts)

    def nobody_was_passed_over(self, order, grants, seen):
        for place, earlier in enumerate(order):
            if earlier in grants or not possible(self.waiting[earlier], seen):
                continue
            for later in order[place + 1 :]:
                if later in grants:
                    assert not set(grants[later].slots) & could_use(self.waiting[earlier], seen)

    def nothing_usable_was_left(self, order, grants, left, seen):
        """The first who was not served could not have been; so no slot stays free for longer than a hold."""
        for waiter_id in order:
            if waiter_id in grants:
                continue
            request = self.waiting[waiter_id]
            if possible(request, seen):
                usable = [slots for user_id, slots in left.items() if request.usable(user_id)]
                enough = max(usable, default=0) if request.same_account else sum(usable)
                assert enough < request.slots
                return

    def settle(self, seen):
        """Work out independently which granted slots this reading shows in use for the first time."""
        for one in seen.jobs:
            if one.job_id not in self.shown and one.reply_ref in self.unseen:
                self.unseen[one.reply_ref] -= Counter({one.user_id: 1})
        self.shown.update(one.job_id for one in seen.jobs)

    def held(self, grant_id):
        return grant_id in self.unseen and self.now < self.granted_at[grant_id] + HOLD

    def all_held(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for grant_id, slots in self.unseen.items():
            if self.held(grant_id):
                held.update(slots)
        return held


class AlongsideOthers(LedgerMachine):
    """Other clients take slots without asking, and accounts change, vanish and come back."""

    @rule(user_id=st.sampled_from(ACCOUNTS))
    def somebody_else_submits(self, user_id):
        self.service.submit(user_id, None)

    @rule(user_id=st.sampled_from(ACCOUNTS), slots=st.none() | st.integers(0, 4))
    def change_an_account(self, user_id, slots):
        self.service.max_jobs.pop(user_id, None)
        if slots is not None:
            self.service.max_jobs[user_id] = slots


class Alone(LedgerMachine):
    """Nobody else uses the accounts: what is granted and not submitted is always still free."""

    @invariant()
    def no_submission_within_its_hold_is_ever_refused(self):
        assert self.refused == 0

    @invariant()
    def never_more_granted_and_executing_than_there_are_slots(self):
        promised = sum(slots.total() for grant_id, slots in self.unsubmitted.items() if self.held(grant_id))
        assert promised + len(self.service.jobs) <= sum(self.service.max_jobs.values())


class AloneWithHiddenAccounts(Alone):
    """The same, where a reading lists only the accounts that have a free slot."""

    hides_full_accounts = True


class AlongsideOthersWithHiddenAccounts(AlongsideOthers):
    """Other clients, accounts that change, and full ones that are not listed."""

    hides_full_accounts = True


class AloneWithoutReferences(Alone):
    """The same, where the tasks submit without ``replyRef`` and the ledger has to guess."""

    references = False


def possible(request: SlotRequest, seen) -> bool:
    """Return whether the accounts of a reading have the slots at all, free or not."""
    slots = [account.max_jobs for account in seen.accounts if request.usable(account.user_id)]
    return (max(slots, default=0) if request.same_account else sum(slots)) >= request.slots


def could_use(request: SlotRequest, seen) -> set[str]:
    return {
        account.user_id
        for account in seen.accounts
        if request.usable(account.user_id) and (not request.same_account or account.max_jobs >= request.slots)
    }


TestAlone = Alone.TestCase
TestAloneWithoutReferences = AloneWithoutReferences.TestCase
TestAlongsideOthers = AlongsideOthers.TestCase
TestAloneWithHiddenAccounts = AloneWithHiddenAccounts.TestCase
TestAlongsideOthersWithHiddenAccounts = AlongsideOthersWithHiddenAccounts.TestCase
for _machine in (
    TestAlone,
    TestAloneWithoutReferences,
    TestAlongsideOthers,
    TestAloneWithHiddenAccounts,
    TestAlongsideOthersWithHiddenAccounts,
):
    _machine.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
del _machine  # or pytest would run the last one twice
