"""The terminal view, which shows as much as fits the terminal's width and height, for 4 or 4,000 runs."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from ablations.progress.snapshot import Snapshot
from ablations.progress.views import terminal_tables as tables
from ablations.progress.views.terminal_tables import PLAIN, Signs


class View:
    """A renderable snapshot that adapts to the console's size.

    Parameters
    ----------
    snapshot : the snapshot to show.
    height : number of lines; None uses the console's height minus one line for the cursor.
    """

    def __init__(self, snapshot: Snapshot, height: int | None = None) -> None:
        self.snapshot, self.height = snapshot, height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = self.height or max(3, console.size.height - 1)
        signs = PLAIN if options.ascii_only else Signs()
        for text in lines(self.snapshot, options.max_width, height, signs):
            yield from self._line(text, options)

    @staticmethod
    def _line(text: Text, options: ConsoleOptions) -> RenderResult:
        if options.ascii_only:
            plain = text.plain.translate({0x2026: "~", 0x2013: "-", 0xB7: "|"}).encode("ascii", "replace").decode()
            text.plain = plain
        text.no_wrap, text.overflow = True, "crop"
        yield text


class LiveView:
    """A view that is redrawn in place.

    Parameters
    ----------
    take : returns the current snapshot.
    """

    def __init__(self, take: Callable[[], Snapshot], console: Console) -> None:
        self._live = Live(get_renderable=lambda: View(take()), console=console, refresh_per_second=1, transient=False)

    def start(self) -> None:
        """Start drawing."""
        self._live.start()

    def stop(self) -> None:
        """Draw the final state and leave it on the screen."""
        self._live.stop()


def lines(snapshot: Snapshot, width: int, height: int, signs: Signs) -> list[Text]:
    """Return at most `height` lines of at most `width` cells each."""
    head = tables.head(snapshot, width, signs)
    foot = tables.foot(snapshot, width)
    room = height - len(head) - len(foot)
    shares = _shares(
        room,
        {
            "failures": len(snapshot.failures),
            "messages": len(snapshot.messages),
            "runs": len(snapshot.running),
            "arms": len(snapshot.arms),
        },
    )
    body: list[Text] = []
    if shares["arms"]:
        body += [Text(), *tables.arms(snapshot, shares["arms"], width, signs)]
    if shares["runs"]:
        body += [Text(), *tables.runs(snapshot.running, snapshot.count("running"), shares["runs"], width, signs)]
    if shares["failures"]:
        body += [Text(), *tables.failures(snapshot.failures, snapshot.count("failed"), shares["failures"], width)]
    if shares["messages"]:
        body += [Text(), *tables.messages(snapshot, shares["messages"], width)]
    return [*head, *body, *foot][:height]


def _shares(room: int, wanted: dict[str, int]) -> dict[str, int]:
    """Return the number of rows in each section, not counting its heading and the empty line above it.

    Each section first gets up to its promised number of rows; the remaining rows are shared evenly.
    """
    promised = {"failures": 3, "messages": 2, "runs": 4, "arms": 4}
    given = dict.fromkeys(wanted, 0)
    for name in ("arms", "runs", "failures", "messages"):
        rows = min(wanted[name], promised[name], room - 2)
        if rows > 0:
            given[name] = rows
            room -= rows + 2
    while room > 0:
        short = [name for name in ("arms", "runs") if 0 < given[name] < wanted[name]]
        short = short or [name for name in ("failures", "messages") if 0 < given[name] < wanted[name]]
        if not short:
            break
        least = min(short, key=lambda name: given[name])
        given[least] += 1
        room -= 1
    return given
