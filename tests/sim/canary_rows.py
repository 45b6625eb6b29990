"""Which test shows which planted bug, which checker says so, and where to look first.

ROWS                              one a canary
seen(row, seed)                   one run with the canary: the checkers that reported something
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from . import canaries_buckets as buckets
from . import canaries_chunks as chunks
from . import canaries_control as control
from . import canaries_installs as installs
from . import canaries_names as names
from . import canaries_null as nulls
from . import canaries_review as review
from . import canaries_scenarios as scenarios
from . import canaries_uploads as uploads
from . import canaries_voters as voters
from . import canaries_workloads as workloads
from .canaries import CANARIES
from .whole import run

Canary = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Row:
    """Seeds from `seed` on show it; its checker is the one whose clause the bug breaks."""

    canary: Canary
    checker: str
    test: str
    seed: int
    seconds: float | None = 10

    @property
    def name(self) -> str:
        """Of the canary."""
        return self.canary.__name__


ROWS = [
    Row(CANARIES["acknowledge_before_fdatasync"], "durability", "crash", 1, None),
    Row(CANARIES["failed_sync_ignored"], "durability", "sync", 1),
    Row(CANARIES["forgotten_answers"], "linearizable", "clog", 3, None),
    Row(CANARIES["listing_forgets_rows"], "linearizable", "everything", 1),
    Row(control.no_lease_check, "leases", "standstill", 1, None),
    Row(control.lease_counted_from_receipt, "leases", "lag", 1, None),
    Row(control.stale_name_request_answered, "fences", "everything", 2, None),
    Row(control.starts_by_an_older_table, "generations", "attrition", 4),
    Row(control.digest_not_compared, "generations", "attrition", 1, 5),
    Row(control.given_table_not_checked, "generations", "beside", 1),
    Row(control.stops_without_a_hand_over, "liveness", "handover", 1, None),
    Row(control.stale_store_accepted, "fences", "moves", 6, None),
    Row(control.wrong_clock_keeps_its_rows, "liveness", "astray", 1, None),
    Row(names.commit_alone, "replicas", "leaders", 1),
    Row(names.one_replica_short, "replicas", "leaders", 1),
    Row(names.reads_before_taken_over, "linearizable", "islands", 2, None),
    Row(review.prepared_is_dropped, "linearizable", "leaders", 2, None),
    Row(review.answers_lost_on_fail_over, "linearizable", "leaders", 4, None),
    Row(review.answers_kept_too_short, "linearizable", "leaders", 2, None),
    Row(review.reads_of_undecided, "linearizable", "leaders", 1, None),
    Row(review.conditions_on_committed_only, "linearizable", "leaders", 1, None),
    Row(review.grant_without_proof, "leaders", "lag", 101, None),
    Row(review.no_fence_and_no_wait, "leaders", "moves", 5, None),
    Row(review.damage_passes_for_a_torn_tail, "linearizable", "rotten", 30, None),
    Row(review.hole_passes_for_the_end, "replicas", "holed", 1, None),
    Row(names.catch_up_skips_an_entry, "durability", "contended", 1),
    Row(names.conditions_ignored, "linearizable", "contended", 1),
    Row(names.repeat_carried_out_again, "linearizable", "contended", 2),
    Row(names.versions_by_time_of_day, "linearizable", "clocks", 1),
    Row(chunks.bytes_not_verified, "bytes", "rot", 1),
    Row(chunks.copy_counted_that_is_not_there, "durability", "empty_disk", 1),
    Row(chunks.repair_does_nothing, "durability", "empty_disk", 1, None),
    Row(chunks.reservations_never_released, "bounds", "clog", 1, 5),
    Row(chunks.no_backoff, "bounds", "clog", 1, 5),
    Row(workloads.removal_takes_two, "linearizable", "versions", 1),
    Row(workloads.version_list_ends_early, "linearizable", "versions", 1),
    Row(workloads.reclaim_without_counting, "bytes", "tree", 1),
    Row(scenarios.vouched_for_no_more, "liveness", "stuck", 1),
    Row(scenarios.hung_disk_vouched_for, "liveness", "hung", 1, None),
    Row(scenarios.full_for_good, "bounds", "full", 1),
    Row(scenarios.full_taken_for_failed, "liveness", "full", 1),
    Row(scenarios.miss_without_proof, "bytes", "apart", 8, None),
    Row(scenarios.stored_of_another_put, "durability", "crash", 3),
    Row(scenarios.hit_before_it_is_durable, "durability", "hits", 1),
    Row(scenarios.promises_and_fences_forgotten, "linearizable", "moves", 2, None),
    Row(scenarios.stale_addition_counts, "replicas", "late", 1, None),
    Row(CANARIES["take_over_without_asking"], "replicas", "moves", 1, None),
    Row(installs.install_forgets_results, "convergence", "away", 1, None),
    Row(installs.install_skips_an_entry, "durability", "away", 1, None),
    Row(installs.added_before_it_is_whole, "replicas", "away", 1, None),
    Row(buckets.bucket_gone_is_final, "linearizable", "anew", 1, None),
    Row(buckets.bucket_gone_is_listed, "linearizable", "anew", 1, None),
    Row(buckets.bucket_unheard_of_is_gone, "linearizable", "anew", 3, None),
    Row(nulls.null_supersedes_nothing, "linearizable", "null", 1),
    Row(nulls.null_of_committed_only, "linearizable", "null", 1, None),
    Row(uploads.completion_leaves_its_record, "linearizable", "uploads", 1, 5),
    Row(uploads.abort_loses_and_does_not_say_so, "linearizable", "uploads", 1, None),
    Row(uploads.completed_by_each_on_his_own, "linearizable", "uploads", 1, None),
    Row(voters.old_epoch_goes_on, "epochs", "replace", 3, None),
]

# Another defence keeps these from doing harm alone; the others are planted with them above.
HARMLESS_ALONE = [
    Row(names.promises_forgotten, "linearizable", "leaders", 1, None),
    Row(names.no_fence_for_new_leaders, "leaders", "moves", 1, None),
    Row(review.restarted_replica_keeps_its_place, "linearizable", "leaders", 1, None),
]


def seen(row: Row, seed: int) -> list[str]:
    """The checkers that report something of this seed with the canary."""
    with pytest.MonkeyPatch.context() as patch:
        row.canary(patch)
        return run(row.test, seed, row.seconds, buggify=False).checkers
