"""The DNS records of a mail domain: which there are to be, how they are written, and whether those found are as good.

Pure: whom to ask is handed in.
"""

from __future__ import annotations

from stalwart.zone.asking import Answer, Asks, Unknown
from stalwart.zone.finding import Finding, Outcome, exit_code
from stalwart.zone.record import Record, Wanted, fault, in_zone, zone_line, zone_lines
from stalwart.zone.report import check_host, check_record, known
from stalwart.zone.surroundings import Surroundings
from stalwart.zone.wanted import ServedCertificate, foreign_relay, jmap_place, mx_hosts, wanted_records

__all__ = [
    "Answer",
    "Asks",
    "Finding",
    "Outcome",
    "Record",
    "ServedCertificate",
    "Surroundings",
    "Unknown",
    "Wanted",
    "check_host",
    "check_record",
    "exit_code",
    "fault",
    "foreign_relay",
    "in_zone",
    "jmap_place",
    "known",
    "mx_hosts",
    "wanted_records",
    "zone_line",
    "zone_lines",
]
