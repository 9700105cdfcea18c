"""Runs a user's command while every device is watched, and says what energy each took while it ran.

Opens no CUDA context and imports no torch: the drivers are asked by child processes. Whatever goes wrong with the
measuring costs figures, never the command: it runs, and its status comes back.
"""

import selectors
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from effbench.launch.foreground import Command, NotStarted, refusal
from effbench.model.energy import Energy, Sensor
from effbench.model.error import EffbenchError, InputError
from effbench.model.event import Telemetry, Window
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator, Inventory
from effbench.run.child import ask
from effbench.run.health import fault, health
from effbench.run.vigil import Vigil

__all__ = ["Metered", "Node", "Order", "look", "run"]

INSPECT_DEADLINE_S = 30.0
TICK_S, DESCENDANTS_EVERY_S, COLLECT_EVERY_S = 0.1, 1.0, 60.0
LONGER = "Let the command run longer: what the sensor resolves is named in the reason."
UNSEEN = "the telemetry named no sensor of it, not even an absent one"


class Node(msgspec.Struct, frozen=True):
    """The devices that the drivers list here, and what could not be asked."""

    devices: list[Accelerator]
    findings: list[Finding]


class Order(msgspec.Struct, frozen=True):
    """What to run: the command, its environment and ours, where its output goes, the user's calibration."""

    words: list[str]
    environment: dict[str, str]
    children: dict[str, str]
    stdout: int | None = None
    calibrate: Callable[[list[Sensor]], list[Sensor]] | None = None


class Metered(msgspec.Struct, frozen=True):
    """How a command ended and the energy of each device meanwhile. `refused` says why it did not start.

    `window`, `readings` and `sensors` are what the figures rest on, for a meter's log that is joined later.
    """

    exit_status: int
    duration_s: float
    devices: list[Accelerator]
    energies: list[Energy]
    findings: list[Finding]
    refused: str = ""
    window: tuple[int, int] = (0, 0)
    utc_ns: int = 0
    sensors: list[Sensor] = []
    readings: dict[str, list[Telemetry]] = {}
    faults: dict[str, str] = {}


def look(environment: Mapping[str, str], wanted: str = "all") -> Node:
    """Ask the drivers, in a child, which devices are here. `wanted`: `all` (the GPUs and the CPU) or keys of them.

    A driver that does not answer is a finding: the command runs all the same.

    Raises:
        InputError: `wanted` names a device that this node does not have.
    """
    try:
        answer = ask("effbench.device.inspect", b"{}", environment, INSPECT_DEADLINE_S)
        inventory = msgspec.json.decode(answer, type=Inventory)
    except (EffbenchError, msgspec.DecodeError, OSError) as error:
        return Node([], [Finding("telemetry-lost", "error", f"this node's devices could not be asked for: {error}")])
    findings = [Finding("sensor-absent", "warning", text) for text in inventory.findings if "driver" in text]
    if wanted == "all":
        return Node(list(inventory.accelerators), findings)
    gpus = [a for a in inventory.accelerators if a.kind == "gpu"]
    known = {a.key: a for a in inventory.accelerators} | {f"cuda:{i}": a for i, a in enumerate(gpus)}
    unknown = [name for name in wanted.split(",") if name not in known]
    if unknown:
        raise InputError(f"no device {unknown[0]!r} on this node; it has: {', '.join(known)}")
    return Node(list({known[name].key: known[name] for name in wanted.split(",")}.values()), findings)


def run(order: Order, node: Node) -> Metered:
    """Run the command to its end and return its status and the energy of every device of `node`.

    Readings begin a second before the command and end two updates of the slowest sensor after it.

    Raises:
        KeyboardInterrupt: Ctrl-C before the command was started; afterwards it is the command's.
    """
    watcher = Vigil(node.devices, order.children, order.calibrate)
    try:
        _guarded(watcher.begin, watcher)
        utc_ns, start_ns = time.time_ns(), time.monotonic_ns()
        try:
            command = Command(order.words, order.environment, order.stdout)
        except OSError as error:
            return _refused(refusal(order.words, error), node)
        try:
            if not _guarded(lambda: _attend(command, watcher), watcher):
                _wait(command)
            end_ns = time.monotonic_ns()
            status = command.exit_status()
            _guarded(watcher.end, watcher)
        finally:
            command.close()
    finally:
        _guarded(watcher.stop, watcher)
    return _metered(status, (start_ns, end_ns), utc_ns, watcher, node)


def _refused(why: NotStarted, node: Node) -> Metered:
    return Metered(why.exit_status, 0.0, [], [], node.findings, why.reason)


def _guarded(step: Callable[[], None], watcher: Vigil) -> bool:
    """Do one step of the measuring; False when it failed: a fault of ours costs readings, never the command."""
    try:
        step()
    except Exception as error:
        text = f"measuring stopped: {type(error).__name__}: {error}"
        watcher.findings.append(Finding("internal-error", "error", text))
        return False
    return True


def _attend(command: Command, watcher: Vigil) -> None:
    """Wait for the command's end; meanwhile pass on signals and take in readings."""
    listed = collected = time.monotonic()
    watcher.ours(command.pid)
    with selectors.DefaultSelector() as selector:
        ended, spoke = command.fileno(), watcher.fileno()
        for descriptor in (ended, spoke):
            if descriptor is not None:
                selector.register(descriptor, selectors.EVENT_READ)
        while command.running():
            command.forward()
            selector.select(TICK_S) if selector.get_map() else time.sleep(TICK_S)
            watcher.pump()
            if spoke is not None and watcher.fileno() is None:
                selector.unregister(spoke)
                spoke = None
            now = time.monotonic()
            if now - listed >= DESCENDANTS_EVERY_S:
                watcher.ours(command.pid)
                listed = now
            if now - collected >= COLLECT_EVERY_S and spoke is not None:
                watcher.collect()
                collected = now


def _wait(command: Command) -> None:
    while command.running():
        command.forward()
        time.sleep(TICK_S)


def _metered(status: int, window: tuple[int, int], utc_ns: int, watcher: Vigil, node: Node) -> Metered:
    findings = [*node.findings, *watcher.findings]
    duration_s = (window[1] - window[0]) * 1e-9
    read = {a.key: watcher.readings.get(a.key, []) for a in node.devices}
    faults = {key: fault(points, health(points, duration_s, False, findings)) for key, points in read.items()}
    done = Metered(
        exit_status=status,
        duration_s=duration_s,
        devices=node.devices,
        energies=[],
        findings=findings,
        window=window,
        utc_ns=utc_ns,
        sensors=watcher.sensors,
        readings=watcher.readings,
        faults=faults,
    )
    return msgspec.structs.replace(done, energies=figures(done))


def figures(done: Metered) -> list[Energy]:
    """Return the energy of each device over the command's window, and of the node where a meter's card is there."""
    made = []
    for device in done.devices:
        cards = [card for card in done.sensors if card.device in (device.key, "node")]
        made.append(_figure(device, cards, done))
    meters = [card for card in done.sensors if card.device == "node" and not card.absent]
    if meters:
        # One rule for all: the node is figured as a device of its own, whose sensors are of its whole.
        node = Accelerator("node", "cpu", "", "wall meter", "", 0, 0)
        whole = _figure(node, [msgspec.structs.replace(card, scope="package") for card in meters], done)
        ledger = [msgspec.structs.replace(row, scope="node") for row in whole.ledger]
        made.append(msgspec.structs.replace(whole, scope="node", ledger=ledger))
    return made


def _figure(device: Accelerator, cards: Sequence[Sensor], done: Metered) -> Energy:
    from effbench.energy.figure import figure

    if not any(card.device == device.key for card in cards):
        return Energy(device.key, "absent", UNSEEN, "see the findings; `effbench doctor` says what answers here")
    window = Window(done.window[1], done.window[0], device.key, "command", steps=1.0)
    spoilt = done.faults.get(device.key, "")
    try:
        made = figure(device, cards, done.readings, [window], started_ns=done.window[0], fault=spoilt, once=True)
    except Exception as error:  # a fault of ours costs a figure, never the command's status
        text = f"the figure could not be made: {type(error).__name__}: {error}"
        noted = [Finding("internal-error", "error", text, device=device.key)]
        return Energy(device.key, "absent", text, "please report it", findings=noted)
    too_short = made.energy is None and "effbench run" in made.remedy
    return msgspec.structs.replace(made, remedy=LONGER) if too_short else made
