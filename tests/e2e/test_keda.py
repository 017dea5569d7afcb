"""KEDA's external-push scaler at the router: the contract that KEDA's own client speaks, over real gRPC."""

import concurrent.futures
import importlib
import pathlib
import sys

import grpc
import grpc_tools.protoc
import httpx
import pytest
from routing import PATIENCE_S, Routing, free_port, replicas_of, router_program, wait_until
from serving import run_to_exit

PROTO = pathlib.Path(__file__).parents[2] / "router/keda/externalscaler.proto"


@pytest.fixture(scope="module")
def scaler(tmp_path_factory, program):
    """The modules that protoc makes of the contract: (messages, services)."""
    if not pathlib.Path(program).with_name("libsluice_keda.so").exists():
        pytest.skip(
            "this build has no gRPC (libgrpc++-dev, protobuf-compiler-grpc), so KEDA's door is not there"
        )
    out = tmp_path_factory.mktemp("proto")
    words = ["protoc", f"-I{PROTO.parent}", f"--python_out={out}", f"--grpc_python_out={out}", PROTO.name]
    assert grpc_tools.protoc.main(words) == 0
    sys.path.insert(0, str(out))
    return importlib.import_module("externalscaler_pb2"), importlib.import_module("externalscaler_pb2_grpc")


def reference(messages, **metadata):
    return messages.ScaledObjectRef(name="llm", namespace="prod", scalerMetadata=metadata)


def refusal(call):
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value.code(), refused.value.details()


def test_keda_is_told_what_is_wanted_and_when_to_wake(program, scaler, tmp_path):
    messages, services = scaler
    nobody = tmp_path / "replicas"
    nobody.write_text("# none yet\n")
    port = free_port()
    flags = [
        f"--replicas-file={nobody}",
        "--model=org/tiny",
        "--model=other",
        f"--keda-port={port}",
        "--keda-host=127.0.0.1",
    ]
    with Routing(program, [], *flags) as router, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = services.ExternalScalerStub(channel)
        tiny = reference(messages, model="org/tiny")
        spec = stub.GetMetricSpec(tiny, timeout=PATIENCE_S, wait_for_ready=True).metricSpecs
        assert [(each.targetSize, each.targetSizeFloat) for each in spec] == [(1, 1.0)]

        def demand():
            asked = messages.GetMetricsRequest(scaledObjectRef=tiny, metricName=spec[0].metricName)
            (value,) = stub.GetMetrics(asked, timeout=PATIENCE_S).metricValues
            assert value.metricName == spec[0].metricName
            assert value.metricValue == value.metricValueFloat
            return value.metricValue

        assert demand() == 0
        assert stub.IsActive(tiny, timeout=PATIENCE_S).result is False
        # As a label has it; and which one is meant must be said.
        assert stub.IsActive(reference(messages, model="org-tiny"), timeout=PATIENCE_S).result is False
        code, words = refusal(lambda: stub.IsActive(reference(messages), timeout=PATIENCE_S))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "org/tiny" in words
        code, words = refusal(lambda: stub.GetMetricSpec(reference(messages, model="no"), timeout=PATIENCE_S))
        assert code == grpc.StatusCode.NOT_FOUND and "--model" in words

        pushed = stub.StreamIsActive(tiny, timeout=PATIENCE_S)
        assert next(pushed).result is False
        with concurrent.futures.ThreadPoolExecutor() as pool:
            chat = {"model": "org/tiny", "stream": True, "messages": [{"role": "user", "content": "Hi."}]}
            asked = pool.submit(
                httpx.post, router.url + "/v1/chat/completions", json=chat, timeout=PATIENCE_S
            )
            assert next(pushed).result is True  # pushed, not asked for
            wait_until(lambda: demand() == 1)
            with replicas_of(program, 1, "--served-model-name=org/tiny") as (replica,):
                nobody.write_text(replica.url + "\n")
                assert asked.result().status_code == 200
                assert next(pushed).result is False
        pushed.cancel()


def test_more_streams_than_there_may_be_are_refused_and_their_end_makes_room(program, scaler):
    messages, services = scaler
    port = free_port()
    flags = ["--model=tiny", f"--keda-port={port}", "--keda-host=127.0.0.1"]
    with replicas_of(program, 1, "--served-model-name=tiny") as replicas:
        with Routing(program, replicas, *flags), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = services.ExternalScalerStub(channel)
            wait_for = stub.IsActive(reference(messages), timeout=PATIENCE_S, wait_for_ready=True)
            assert wait_for.result is False
            streams = [stub.StreamIsActive(reference(messages), timeout=PATIENCE_S) for _ in range(64)]
            assert [next(each).result for each in streams] == [False] * 64
            code, words = refusal(lambda: next(stub.StreamIsActive(reference(messages), timeout=PATIENCE_S)))
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            for each in streams:
                each.cancel()

            def has_room():
                try:
                    return next(stub.StreamIsActive(reference(messages), timeout=PATIENCE_S)).result is False
                except grpc.RpcError:
                    return False

            wait_until(has_room)


def test_a_port_that_is_taken_is_said(program, scaler):
    with replicas_of(program, 1) as (replica,):
        flags = [f"--replica={replica.url}", f"--port={free_port()}", "--index-bytes=1MiB"]
        code, text = run_to_exit(
            router_program(program), *flags, f"--keda-port={replica.port}", "--keda-host=127.0.0.1"
        )
        assert code == 1 and "--keda-port: Cannot listen at" in text
