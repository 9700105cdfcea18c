"""The kernels that wrap or copy: what `at_once` accepts and calls its figures, what `p2p_copy` needs and reports."""

import ctypes

import msgspec
import pytest

from effbench import kernels
from effbench.catalog.metrics import lookup
from effbench.kernels import at_once, p2p_copy
from effbench.kernels.peer_access import ALREADY_ENABLED, PeerAccess
from effbench.model.error import SiteError
from effbench.model.inventory import Accelerator, CpuFacts

FACTS = CpuFacts("AuthenticAMD", 25, 17, "AMD EPYC", ["avx512_bf16"], 2.0, 2, 2, [0, 1])
CPU = Accelerator("cpu", "cpu", "amd", "AMD EPYC", "cpu", 16 << 30, 32 << 20, cpu=FACTS)
GPU = Accelerator(
    "gpu0", "gpu", "nvidia", "a GPU", "cuda:0", 141 << 30, 50 << 20, compute_capability="9.0", sm_count=132
)
ALONE = [name for name in kernels.names() if not getattr(kernels.load(name), "TEAM", False)]


def wrapped(kernel, device=GPU, ranks=4, **params):
    return at_once.fit(at_once.Params(kernel, params or None, ranks=ranks), device)


@pytest.mark.parametrize(
    ("kernel", "params", "key"),
    [
        ("gemm", {"dtype": "bf16"}, "scale.at_once.gemm.bf16.m8192n8192k8192.n4.flops"),
        ("stream", {"op": "triad"}, "scale.at_once.stream.triad.n4.bandwidth"),
        ("train_step", {}, "scale.at_once.train_step.n4.tokens_per_s"),
        ("decode_step", {"batch": 8}, "scale.at_once.decode_step.b8.n4.tokens_per_s"),
        ("host_copy", {}, "scale.at_once.host_copy.h2d.pinned.n4.bandwidth"),
        ("launch_latency", {"how": "sync"}, "scale.at_once.launch_latency.sync.n4.latency"),
    ],
)
def test_keys_are_those_of_the_kernel_alone_with_the_number_of_ranks(kernel, params, key):
    fitted = wrapped(kernel, **params)
    keys = [output.key for output in at_once.outputs(fitted)]
    assert key in keys and f"{key.rsplit('.', 1)[0]}.spread" in keys
    assert at_once.work(fitted) == kernels.load(kernel).work(
        msgspec.convert(fitted.params, kernels.load(kernel).Params)
    )


def test_one_device_is_the_base_and_has_no_spread():
    assert all(not output.key.endswith("spread") for output in at_once.outputs(wrapped("gemm", ranks=1)))


@pytest.mark.parametrize("device", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("kernel", ALONE)
def test_every_kernel_for_one_device_can_be_wrapped_or_says_why_not(kernel, device):
    fitted = wrapped(kernel, device)
    skip = at_once.support(fitted, device).skip
    assert skip is None or skip.startswith("not applicable: ")
    rows = [lookup(output.key) for output in at_once.outputs(fitted)]
    assert all(row is not None for row in rows)
    assert skip is not None or len(rows) >= 2
    assert at_once.fit(fitted, device) == fitted
    assert at_once.label(fitted).startswith(f"{kernel}-") and at_once.label(fitted).endswith("-n4")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"kernel": "gem"}, "Did you mean gemm"),
        ({"kernel": "collective"}, "run by a team itself"),
        ({"kernel": "at_once"}, "run by a team itself"),
        ({"kernel": "gemm", "params": {"dtyp": "bf16"}}, "params of gemm.*dtyp"),
        ({"kernel": "gemm", "params": {"m": -1}}, "params of gemm.*m is -1"),
        ({"kernel": "gemm", "version": 999}, "not 999"),
        ({"ranks": 0}, "ranks"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_by_name(document, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(document, at_once.Params)


def test_two_versions_of_the_wrapped_kernel_are_not_the_same_trial():
    assert wrapped("gemm").version == kernels.load("gemm").VERSION


def test_ranks_of_a_cpu_do_not_all_fill_its_memory():
    assert "share one memory" in (at_once.support(wrapped("memory_fill", CPU), CPU).skip or "")
    assert at_once.support(wrapped("memory_fill", GPU), GPU).skip is None


# ---- copies between GPUs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "device", "words"),
    [
        ({}, CPU, "no other device"),
        ({"ranks": 1}, GPU, "one GPU"),
        ({"ranks": 8, "nodes": 2}, GPU, "one node"),
    ],
)
def test_copies_need_several_gpus_of_one_node(params, device, words):
    assert words in (p2p_copy.support(p2p_copy.Params(**params), device).skip or "")
    assert p2p_copy.support(p2p_copy.Params(ranks=8), GPU).skip is None


class Group:
    """A group of one process that stands for all."""

    def __init__(self, size):
        self.rank, self.size, self.nodes, self.backend = 0, size, 1, "nccl"

    def broadcast_object(self, x):
        return msgspec.json.decode(msgspec.json.encode(x))


def copier(monkeypatch, size=3, problem=""):
    monkeypatch.setattr(p2p_copy, "team_of", lambda rig, ranks: Group(size))
    monkeypatch.setattr(p2p_copy.PeerCopy, "_visible", lambda self: problem)
    return p2p_copy.build(p2p_copy.Params(bytes=1 << 20, copies=10, ranks=size), object())


def rows_of(size, slow=()):
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    return [[i, j, 0, [0.04 if {i, j} == set(slow) else 0.01] * 3] for i, j in pairs]


def test_the_matrix_names_the_slow_pair_in_both_directions(monkeypatch):
    step = copier(monkeypatch, 4)
    monkeypatch.setattr(step, "_matrix", lambda end: (rows_of(4, (1, 3)), {"direct": "gpu0-gpu1"}))
    samples = step.samples(10.0)
    assert len(samples) == 36 and samples[0].inner_steps == 10
    facts, texts = step.facts(), step.texts()
    assert facts["copy_bandwidth.gpu0.gpu1"] == pytest.approx((10 << 20) / 0.01)
    assert facts["slowest_bandwidth"] == facts["copy_bandwidth.gpu3.gpu1"] == pytest.approx((10 << 20) / 0.04)
    assert facts["slowest_to_median"] == pytest.approx(0.25)
    assert texts["slowest_pair"] == "gpu1-gpu3" and texts["direct"] == "gpu0-gpu1"
    assert step.verify().ok


def test_copies_that_were_not_made_or_arrived_wrong_are_no_evidence(monkeypatch):
    step = copier(monkeypatch)
    assert not step.verify().ok and "slowest_bandwidth" not in step.facts()
    monkeypatch.setattr(step, "_matrix", lambda end: (rows_of(3)[:-1], {}))
    step.samples(10.0)
    assert "slowest_bandwidth" not in step.facts() and step.texts()["incomplete"].startswith("5 of 6")
    wrong = rows_of(3)
    wrong[1][2] = 7
    monkeypatch.setattr(step, "_matrix", lambda end: (wrong, {}))
    step.samples(10.0)
    assert not step.verify().ok and step.verify().detail == "gpu0 to gpu2: 7 wrong elements"


def test_what_stops_rank_0_stops_every_rank_with_words(monkeypatch):
    with pytest.raises(SiteError, match="sees 1"):
        copier(monkeypatch, problem="p2p_copy needs one process that sees all 3 GPUs, rank 0 sees 1")
    step = copier(monkeypatch)

    def refused(end):
        raise SiteError("the CUDA driver answers cuInit with error 100")

    monkeypatch.setattr(step, "_matrix", refused)
    with pytest.raises(SiteError, match="cuInit with error 100"):
        step.samples(10.0)


class Driver:
    """A CUDA driver that notes what it is asked, and answers one call with a code."""

    def __init__(self, **codes):
        self.codes, self.calls = codes, []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            return self.codes.get(name, 0)

        return call


def test_peer_access_is_given_and_taken_in_the_right_context_and_let_go():
    driver = Driver(cuCtxEnablePeerAccess=ALREADY_ENABLED)
    access = PeerAccess(driver, 2)
    access.set(0, 1, allowed=True)
    access.set(1, 0, allowed=False)
    access.close()
    around = ["cuCtxPushCurrent_v2", "cuCtxEnablePeerAccess", "cuCtxPopCurrent_v2"]
    assert driver.calls[5:8] == around and driver.calls[9] == "cuCtxDisablePeerAccess"
    assert driver.calls.count("cuDevicePrimaryCtxRetain") == driver.calls.count("cuDevicePrimaryCtxRelease_v2") == 2


def test_a_driver_that_refuses_is_quoted_and_the_context_is_restored():
    driver = Driver(cuCtxEnablePeerAccess=217)
    access = PeerAccess(driver, 2)
    with pytest.raises(SiteError, match="cuCtxEnablePeerAccess with error 217"):
        access.set(0, 1, allowed=True)
    assert driver.calls[-1] == "cuCtxPopCurrent_v2"


def test_no_driver_is_a_message(monkeypatch):
    from effbench.kernels import peer_access

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(SiteError, match="does not load"):
        peer_access.driver()
