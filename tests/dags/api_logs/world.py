"""What the tests of the API logs share: a server with keys in memory, and a lake in a folder."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyarrow.fs import LocalFileSystem

from taxiway.api_logs import keys, merge, records
from taxiway.api_logs.convert import Counts, convert_objects
from taxiway.api_logs.envelope import Opener, Sealer
from taxiway.api_logs.merge import BuiltHour
from taxiway.api_logs.pseudonyms import Pseudonyms
from taxiway.api_logs.records import Record, Rules

SAMPLE = Path(__file__).parents[3] / "demos/api_logs/sample/wikiticker-2015-09-12-sampled.json.gz"
PREFIX = "keys/"
PSEUDONYM_KEY = bytes(range(32))
DAYS = 90
SKEW_S = 120


class Server:
    """Makes keys as ``services.log_generator`` does, and keeps them in memory."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.key_id, self.key = self.make()

    def make(self, *, store: bool = True) -> tuple[str, bytes]:
        key = keys.new_key()
        key_id = keys.id_of("server", key)
        if store:
            self.secrets[f"{PREFIX}{key_id}"] = keys.as_secret(key)
        return key_id, key

    def for_next_object(self) -> tuple[str, bytes]:
        return self.key_id, self.key

    def read(self, name: str) -> str:
        if name not in self.secrets:
            raise keys.NoSecret("is missing in Secrets Manager")
        return self.secrets[name]

    def opener(self) -> Opener:
        return Opener(keys.KeyRing(self.read, PREFIX))

    def sealer(self) -> Sealer:
        return Sealer(*self.for_next_object())

    def seal(self, event: Mapping[str, object], **members: object) -> bytes:
        return self.sealer().seal(sealed_text(event, **members))


def sealed_text(event: Mapping[str, object], **members: object) -> bytes:
    given = {"id": "1", "time": "2026-01-31T07:30:00Z", "user": "Ada"} | members
    return records.write(Record(event=dict(event), **given))


def folder_of(hour: str) -> str:
    year, month, day, number = hour.split("-")
    return f"year={year}/month={month}/day={day}/hour={number}"


@dataclass
class World:
    """A lake in a folder, and what is done to it hour by hour."""

    lake: Path
    server: Server = field(default_factory=Server)
    version: str = "1"
    files: LocalFileSystem = field(default_factory=LocalFileSystem)
    counts: dict[str, Counts] = field(default_factory=dict)
    scratch: str | None = None

    def put(self, hour: str, name: str, body: bytes) -> str:
        file = self.lake / "raw/api_logs" / folder_of(hour) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        return str(file)

    def folder(self, table: str, hour: str) -> Path:
        return self.lake / table / folder_of(hour) / f"version={self.version}"

    def arrivals(self) -> list[str]:
        hours = (self.lake / "raw/api_logs").glob("*/*/*/*")
        return sorted("-".join(part.partition("=")[2] for part in hour.parts[-4:]) for hour in hours)

    def convert(self, hour: str, server: Server | None = None) -> Counts:
        objects = sorted((self.lake / "raw/api_logs" / folder_of(hour)).glob("*"))
        self.counts[hour] = convert_objects(
            [str(path) for path in objects],
            files=self.files,
            lake=str(self.lake),
            target=str(self.folder("staged/api_events", hour)),
            rules=Rules(hour, SKEW_S),
            opener=(server or self.server).opener(),
            pseudonyms=Pseudonyms(PSEUDONYM_KEY, DAYS),
            scratch_dir=self.scratch,
        )
        return self.counts[hour]

    def staged(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder in sorted((self.lake / "staged").glob(f"**/version={self.version}/event=*")):
            found.setdefault(folder.name.removeprefix("event="), []).append(str(folder))
        return found

    def build(self, hours: Iterable[str] | None = None) -> dict[str, BuiltHour]:
        staged = self.staged()
        targets = {hour: str(self.folder("curated/api_events", hour)) for hour in hours or staged}
        return merge.build_hours(targets, staged, files=self.files, scratch_dir=self.scratch)

    def quarantine(self, hour: str) -> dict[str, int]:
        staged = self.folder("staged/api_events", hour)
        events = [folder.name.removeprefix("event=") for folder in sorted(staged.glob("event=*"))]
        return merge.build_quarantine(
            hour,
            staged=str(staged),
            events=[str(self.folder("curated/api_events", each)) for each in events],
            target=str(self.folder("quarantine/api_events", hour)),
            files=self.files,
            lake=str(self.lake),
            scratch_dir=self.scratch,
        )

    def run(self) -> Counter[str]:
        """Do everything for all that arrived; return the quarantined records by reason."""
        for hour in self.arrivals():
            self.convert(hour)
        self.build()
        return sum((Counter(self.quarantine(hour)) for hour in self.arrivals()), Counter())
