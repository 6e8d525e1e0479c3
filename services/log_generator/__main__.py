"""The command line: ``python -m services.log_generator --events FILE --to s3://LAKE/raw/api_logs [--rate N]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from services.log_generator import EventsError, MasterKeys, deliver, open_events, target_of
from services.log_generator.delivery import RECORDS_PER_OBJECT, Delivery, Objects
from services.log_generator.events import TIME_FIELD, USER_FIELD
from services.log_generator.live import play
from taxiway.api_logs.settings import api_logs_settings
from taxiway.core.settings import SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    options = _options(arguments)
    try:
        events = open_events(options.events, options.time_field, options.user_field)
        session = boto3.Session()
        keys = MasterKeys(
            session, options.key_prefix or api_logs_settings().key_prefix, options.server, options.objects_per_key
        )
        put = target_of(options.to, session)
        if options.rate:
            objects = Objects(put, keys, f"{options.server}-{events.name}", options.object_records)
            delivery = play(events, objects, rate=options.rate, object_s=options.object_seconds, limit=options.limit)
        else:
            delivery = deliver(events, put, keys, records_per_object=options.object_records, faults=options.faults)
    except (EventsError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{options.to} cannot be written to: {error.strerror or error}.\n")
        return 1
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"AWS refused to deliver to {options.to}: {error}\n")
        return 1
    sys.stdout.write(_sentence(delivery, options.to))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m services.log_generator",
        description="Play the API server that writes encrypted logs. Without a rate each event is put in the hour "
        "in which it occurred; with one the events are written over and over, as if they occurred now, until Ctrl-C.",
    )
    parser.add_argument("--events", type=Path, required=True, help="JSON lines, plain or gzip")
    parser.add_argument("--to", required=True, help="folder of the raw objects: s3://LAKE/raw/api_logs, or a local one")
    parser.add_argument(
        "--time-field", default=TIME_FIELD, help="member with the time; a.b is member b of a (%(default)s)"
    )
    parser.add_argument("--user-field", default=USER_FIELD, help="member with the user (%(default)s)")
    parser.add_argument("--rate", type=_positive, help="events a second")
    parser.add_argument("--limit", type=int, help="number of events, with --rate")
    parser.add_argument(
        "--object-records", type=int, default=RECORDS_PER_OBJECT, help="records of an object (%(default)s)"
    )
    parser.add_argument(
        "--object-seconds", type=_positive, default=60, help="age of an object, with --rate (%(default)s)"
    )
    parser.add_argument(
        "--objects-per-key", type=int, help="objects after which a new master key is made; default: never"
    )
    parser.add_argument("--server", default="server", help="first part of the names of its keys (%(default)s)")
    parser.add_argument(
        "--key-prefix", help="secrets of the master keys are called this and the key's id; default: as set"
    )
    parser.add_argument("--faults", action="store_true", help="add records of each kind that the pipeline rejects")
    options = parser.parse_args(arguments)
    if options.faults and options.rate:
        parser.error("--faults and --rate exclude each other")
    if options.limit is not None and not options.rate:
        parser.error("--limit needs --rate")
    return options


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("it must be above 0")
    return value


def _sentence(delivery: Delivery, to: str) -> str:
    records, hours = delivery.records.total(), len(delivery.records)
    faults = f", {delivery.faults.total():,} of them made to be rejected," if delivery.faults else ""
    return f"Delivered {records:,} records{faults} in {delivery.objects:,} objects of {hours:,} hours to {to}.\n"


if __name__ == "__main__":
    sys.exit(main())
