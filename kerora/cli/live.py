"""Progress of a search: a live table on a terminal, one line per trial elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kerora.evaluation import wording
from kerora.evaluation.terminal import say, visible
from kerora.tuning.records import Record, best_record
from kerora.tuning.search import Observer

if TYPE_CHECKING:
    from kerora.tuning.search import Search

# A live table higher than the terminal cannot be drawn over, so rich would cut off its end.
MOST_ROWS = 15
# cells below which the table leaves out epoch and time, and below which it leaves out the settings
NARROW, WIDE = 44, 60
STYLES = {"complete": "", "pruned": "dim", "failed": "red", "running": "cyan", "waiting": "dim"}


class LiveTable(Observer):
    """Shows trials, settings, scores, the best trial so far, pruned trials, and the time left.

    Args:
        console: the output. None is standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        # Standard error, so that standard output holds the result alone, as with --json.
        self.console = console or Console(stderr=True)
        self._live: Live | None = None
        self._printed: set[int] = set()

    def begin(self, search: "Search") -> None:
        """Print the search, and open the table."""
        self._search = search
        rows = ", ".join(f"{len(rows):,} {split}" for split, rows in search.bench.data)
        noun = search.bench.data["train"].noun
        settings = search.settings
        self._print(visible(f"Study: {search.folder.path}"))
        data, model = search.bench.data.name, search.bench.preset.name
        self._print(visible(f"Data: {data}, {rows} {noun}; base model {model}"))
        what = f"{settings.space}, {len(search.paths)} settings"
        self._print(f"Space: {what}; {settings.trials} trials, sampler {settings.sampler}, pruner {settings.pruner}")
        if self.console.is_terminal:
            # transient: the table disappears at the end, and the summary of the command takes its place.
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def update(self, records: Sequence[Record]) -> None:
        """Show the trials."""
        if self._live is not None:
            self._live.update(Group(self._table(records), Text(self._foot(records))))
            return
        for record in records:
            if record.ended and record.number not in self._printed:
                self._printed.add(record.number)
                self._print(self._line(record, records))

    def end(self) -> None:
        """Remove the table from the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, text: str) -> None:
        say(self.console, text)

    def _line(self, record: Record, records: Sequence[Record]) -> str:
        # the best of the trials up to this one, not of the whole list
        best = best_record(records[: record.number], self._search.maximize)
        parts = [
            f"trial {record.number}/{self._search.settings.trials}",
            record.state,
            f"{self._search.metric} {wording.decimal(record.score)}",
            f"best {wording.decimal(best.score)} (trial {best.number})" if best else "no best yet",
            wording.duration(record.seconds),
            f"ETA {wording.duration(time_left(records, self._search.settings.trials, self._search.settings.workers))}",
            _settings(record),
            record.error,
        ]
        return "  ".join(visible(part) for part in parts if part)

    def _foot(self, records: Sequence[Record]) -> str:
        settings = self._search.settings
        best = best_record(records, self._search.maximize)
        ended = sum(record.ended for record in records)
        left = wording.duration(time_left(records, settings.trials, settings.workers))
        found = (
            f"best {self._search.metric} {wording.decimal(best.score)} (trial {best.number})" if best else "no best yet"
        )
        return f"{ended} of {settings.trials} trials  {found}  ETA {left}"

    def _table(self, records: Sequence[Record]) -> Table:
        best = best_record(records, self._search.maximize)
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("trial", justify="right")
        # on a narrow terminal numbers would be cut, so whole columns are left out
        names = ["state", self._search.metric, "epoch", "time", "settings"]
        names = names[: 2 if self.console.width < NARROW else 4 if self.console.width < WIDE else 5]
        for name in names:
            table.add_column(name, no_wrap=name != "settings", justify="left")
        # The newest trials. The best one stays visible in the line below the table.
        for record in records[-MOST_ROWS:]:
            own = best is not None and record.number == best.number
            cells = (
                record.state,
                wording.decimal(record.score) + (" *" if own else ""),
                str(record.epoch or ""),
                wording.duration(record.seconds),
                Text(visible(record.error or _settings(record)), overflow="ellipsis"),
            )
            # The star and the colour say the same: colour alone is lost in a copy and for some readers.
            style = "bold green" if own else STYLES[record.state]
            table.add_row(str(record.number), *cells[: len(names)], style=style)
        return table


def time_left(records: Sequence[Record], trials: int, workers: int) -> float | None:
    """Return the seconds until the end of a search at the speed so far. None before the first trial ends."""
    # Failed trials often end within seconds and would make the estimate too short.
    times = [record.seconds for record in records if record.state in ("complete", "pruned") and record.seconds]
    if not times:
        return None
    left = max(0, trials - sum(record.ended for record in records))
    # Mean time of a trial x trials left / processes that run at the same time.
    return sum(times) / len(times) * left / max(1, workers)


def _settings(record: Record) -> str:
    values = record.settings.items()
    text = " ".join(f"{path.rpartition('.')[2]}={_value(value)}" for path, value in values)
    return f"defaults: {text}" if record.is_default else text


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
