"""Commands about buckets and cluster-wide settings, applied to the replicated state (state.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicast.flexhash.commands import BucketEncryption, BucketState, Code
from replicast.flexhash.versioning import Versioning
from replicast.region_names import is_region_name
from replicast.user_rules import CANONICAL_ID
from replicast.wire import control_messages as cm
from replicast.wire.bucket_messages import (
    BucketCreate,
    BucketDeleteBegin,
    BucketDeleteEnd,
    BucketEncryptionSet,
    BucketVersioning,
)

if TYPE_CHECKING:
    from replicast.flexhash.state import ControlState

Result = tuple[Code, int]
BUCKETS_MAX = 60_000
SETTINGS_MAX = 4096


def bucket_create(state: ControlState, m: BucketCreate) -> Result:
    """Make one; the value is its incarnation."""
    if not m.tenant or not m.bucket or not state.policy.row_count:
        return Code.BAD_COMMAND, 0
    if m.owner and not CANONICAL_ID.fullmatch(m.owner):
        return Code.BAD_COMMAND, 0
    if m.versioning not in (Versioning.OFF, Versioning.ENABLED):
        return Code.BAD_COMMAND, 0
    if m.location and not is_region_name(m.location):
        return Code.BAD_COMMAND, 0
    spread = min(m.spread, state.policy.row_count)
    if spread < 1 or spread & (spread - 1):
        return Code.BAD_COMMAND, 0
    if (m.tenant, m.bucket) in state.buckets:
        return Code.EXISTS, state.buckets[m.tenant, m.bucket].incarnation
    if len(state.buckets) >= BUCKETS_MAX:
        return Code.FULL, 0
    if m.settings_floor < state.removed_version:
        return Code.CONFLICT, state.removed_version  # some row may still be led for the old one
    state.settings_version += 1  # also the incarnation: who has that version knows the bucket
    state.buckets[m.tenant, m.bucket] = cm.BucketInfo(
        tenant=m.tenant,
        bucket=m.bucket,
        incarnation=state.settings_version,
        spread=spread,
        inline_max_bytes=m.inline_max_bytes,
        state=BucketState.ACTIVE,
        created_ns=m.created_ns,
        marked=0,
        owner=m.owner,
        versioning=m.versioning,
        encryption=BucketEncryption.NONE,
        location=m.location,
    )
    return Code.OK, state.settings_version


def bucket_versioning(state: ControlState, m: BucketVersioning) -> Result:
    """Keep versions, or no new ones; the value is the settings version that says so. What was
    kept has ids of its own, so there is no way back to OFF."""
    known = state.buckets.get((m.tenant, m.bucket))
    if known is None or known.incarnation != m.incarnation:
        return Code.NO_SUCH, 0
    if m.versioning not in (Versioning.ENABLED, Versioning.SUSPENDED):
        return Code.BAD_COMMAND, 0
    if known.versioning != m.versioning:
        state.settings_version += 1
        state.buckets[m.tenant, m.bucket] = replace(known, versioning=m.versioning)
    return Code.OK, state.settings_version


def bucket_encryption(state: ControlState, m: BucketEncryptionSet) -> Result:
    """Encrypt from now on what nobody asked to encrypt, or not; the value is the settings version that
    says so."""
    known = state.buckets.get((m.tenant, m.bucket))
    if known is None or known.incarnation != m.incarnation:
        return Code.NO_SUCH, 0
    if m.encryption not in tuple(BucketEncryption):
        return Code.BAD_COMMAND, 0
    if known.encryption != m.encryption:
        state.settings_version += 1
        state.buckets[m.tenant, m.bucket] = replace(known, encryption=m.encryption)
    return Code.OK, state.settings_version


def bucket_delete_begin(state: ControlState, m: BucketDeleteBegin) -> Result:
    """Mark it; the value names the mark."""
    known = state.buckets.get((m.tenant, m.bucket))
    if known is None:
        return Code.NO_SUCH, 0
    if known.state != BucketState.DELETING:
        state.settings_version += 1
        known = replace(known, state=BucketState.DELETING, marked=state.settings_version)
        state.buckets[m.tenant, m.bucket] = known
    return Code.OK, known.marked


def bucket_delete_end(state: ControlState, m: BucketDeleteEnd) -> Result:
    """Remove it, or take the mark back."""
    known = state.buckets.get((m.tenant, m.bucket))
    if known is None or known.incarnation != m.incarnation:
        return Code.NO_SUCH, 0
    if known.state != BucketState.DELETING or known.marked != m.marked:
        return Code.CONFLICT, 0
    state.settings_version += 1
    if m.remove:
        del state.buckets[m.tenant, m.bucket]
        state.removed_version = state.settings_version
    else:
        state.buckets[m.tenant, m.bucket] = replace(known, state=BucketState.ACTIVE, marked=0)
    return Code.OK, state.settings_version


def setting_set(state: ControlState, m: cm.SettingSet) -> Result:
    """Set or remove one; the value is the new version."""
    key, value = m.setting.key, m.setting.value
    if not key:
        return Code.BAD_COMMAND, 0
    if value and key not in state.settings and len(state.settings) >= SETTINGS_MAX:
        return Code.FULL, 0
    state.settings.pop(key, None)
    if value:
        state.settings[key] = value
    state.settings_version += 1
    return Code.OK, state.settings_version
