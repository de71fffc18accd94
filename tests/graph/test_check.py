"""The checker refuses every kind of malformed graph, and the printer names what it shows."""

import numpy as np
import pytest

from normengine.graph import Graph, GraphError, Node, Spec, Value, check

F = Spec((2, 3))


def chain_of_two():
    x, y, z = Value("x", F), Value("y", F), Value("z", F)
    return x, y, z, Node("relu", (x,), (y,), {}, "act"), Node("neg", (y,), (z,), {})


def test_a_good_graph_passes_and_prints():
    x, _, z, first, second = chain_of_two()
    graph = check(Graph((x,), (z,), (first, second)))
    text = str(graph)
    assert "input  %x: float32[2, 3]" in text
    assert "%y: float32[2, 3] = relu(%x)  # act" in text
    assert text.endswith("output %z: float32[2, 3]")


def test_reading_before_making_is_refused():
    x, _, z, first, second = chain_of_two()
    with pytest.raises(GraphError, match="reads %y before anything makes it"):
        check(Graph((x,), (z,), (second, first)))


def test_two_sources_are_refused():
    x, y, _, first, _ = chain_of_two()
    with pytest.raises(GraphError, match="%y has two sources"):
        check(Graph((x,), (y,), (first, Node("neg", (x,), (y,), {}))))


def test_a_constant_must_match_its_spec():
    c = Value("c", F)
    with pytest.raises(GraphError, match=r"declared float32\[2, 3\], its array is float32\[3\]"):
        check(Graph((), (c,), (), constants={c: np.zeros(3, np.float32)}))


@pytest.mark.parametrize("spec", [Spec((2,), "float16"), Spec((-1, 2))])
def test_unknown_dtypes_and_negative_extents_are_refused(spec):
    x = Value("x", spec)
    with pytest.raises(GraphError, match="float16|negative"):
        check(Graph((x,), (x,), ()))


def test_updates_store_equal_specs_over_state():
    x, y, z, first, second = chain_of_two()
    with pytest.raises(GraphError, match="only inputs and state"):
        check(Graph((x,), (z,), (first, second), updates=((y, z),)))
    s = Value("s", Spec((3,)))
    with pytest.raises(GraphError, match="the specs differ"):
        check(Graph((x,), (z,), (first, second), state=(s,), updates=((s, z),)))
    with pytest.raises(GraphError, match="output %lost: nothing makes it"):
        check(Graph((x,), (Value("lost", F),), ()))


def test_pruning_keeps_what_results_need_and_nothing_else():
    x, y, z, first, second = chain_of_two()
    spare, used = Value("spare", F), Value("used", F)
    graph = Graph((x,), (y,), (first, second), state=(spare, used), updates=((used, y),)).pruned()
    assert graph.nodes == (first,)
    assert graph.state == (used,)
    assert graph.inputs == (x,)
    assert z not in graph.producers()


def test_specs_count_elements_and_bytes():
    spec = Spec((2, 3, 4), "int64")
    assert (spec.rank, spec.size, spec.nbytes, str(spec)) == (3, 24, 192, "int64[2, 3, 4]")
    assert Spec.of(np.zeros((5, 1), np.uint8)) == Spec((5, 1), "uint8")
