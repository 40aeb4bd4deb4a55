"""What users of comparable systems complain about, and the tests that show how it is handled here.

The table is data, so that a test which is renamed or removed is noticed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

COMPLAINTS = {
    "file locks fail or do nothing on network file systems": [
        "test_download.test_no_lock_is_needed",
        "test_symbolic_cache.test_a_stale_or_failing_lock_does_not_hang",
        "test_symbolic_cache.test_a_hundred_processes",
    ],
    "a stale lock after a crash hangs for ever": [
        "test_symbolic_cache.test_a_stale_or_failing_lock_does_not_hang",
        "test_symbolic_cache.test_killed_writers",
    ],
    "shared and read-only caches break": [
        "test_symbolic_cache.test_reads_from_a_shared_layer_and_writes_to_its_own",
        "test_symbolic_cache.test_a_corrupt_entry_in_a_read_only_layer_is_skipped_not_touched",
        "test_symbolic_cache.test_read_only_home",
        "test_cloud_cache.test_installed_files_can_be_read_by_others",
    ],
    "corruption is only warned about, and nothing rechecks": [
        "test_cli.test_verify",
        "test_cloud_cache.test_every_file_is_checked_against_the_manifest",
        "test_cloud_cache.test_what_is_installed_and_damaged_is_fetched_again",
    ],
    "links in a tarball lead out of the folder": [
        "test_cloud_cache.test_unsafe_archives_are_refused",
        "test_archive.test_without_the_data_filter_of_newer_pythons",
    ],
    "two processes download the same address": [
        "test_download.test_two_processes_fetch_the_same_file",
        "test_cloud_cache.test_many_at_once",
    ],
    "an HTML page or a partial file gives a bare checksum error": [
        "test_download.test_an_html_page_is_named_as_such",
        "test_download.test_a_wrong_checksum_is_an_error_with_all_the_numbers",
        "test_cloud_cache.test_from_a_page_that_is_no_archive",
    ],
    "offline mode contacts a server": [
        "test_download.test_offline_contacts_nobody",
        "test_cloud_cache.test_offline",
        "test_cloud_cache.test_offline_buckets_are_not_asked",
        "test_index.test_offline_reads_no_remote_index",
        "test_publish.test_offline",
    ],
    "names too long for Windows": [
        "test_download.test_names_of_temporary_files_stay_short",
        "test_cloud_cache.test_names_that_not_every_system_takes_are_not_sent",
    ],
    "no free-space check first": [
        "test_download.test_the_free_space_is_looked_at_first",
        "test_cloud_cache.test_no_room_on_the_disk",
    ],
    "proxies and private authorities": [
        "test_download.test_a_proxy_is_used",
        "test_download.test_a_proxy_tunnels_tls",
        "test_download.test_a_private_authority_is_trusted_when_named",
        "test_download.test_an_unknown_authority_is_refused_with_the_remedy",
    ],
    "an artefact replaced under the same address, and junk of macOS in it": [
        "test_cloud_cache.test_mirrors_in_order_and_a_replaced_artefact",
        "test_publish.test_a_published_version_is_never_replaced",
        "test_cloud_cache.test_junk_of_macos_is_dropped",
    ],
    "cryptic version mismatch": [
        "test_cli.test_validate_prints_the_command_that_mends",
        "test_compat.test_a_phasic_outside_the_range_is_refused",
        "test_index.test_the_newest_that_works_and_why_not_the_others",
    ],
}


def test_all_thirteen_are_here():
    assert len(COMPLAINTS) == 13


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_the_complaint_is_handled_by_tests_that_exist(complaint):
    for name in COMPLAINTS[complaint]:
        module, function = name.split(".")
        [path] = Path(__file__).parents[1].rglob(f"{module}.py")
        text = path.read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), name
