"""Races as OpenTelemetry spans, on the console: for a collector, take another exporter.

Run it: python examples/otel.py www.example.com 443 (pip install 'pvdrace[opentelemetry]' opentelemetry-sdk)
"""

import argparse

import anyio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import pvdrace
from pvdrace.telemetry.opentelemetry import OpenTelemetrySink


def line(span: ReadableSpan) -> str:
    """One line a span: how long, which, where, and what became of it."""
    attributes = span.attributes or {}
    took = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    where = attributes.get("pvdrace.pvd.name", "-")
    return f"{took:8.1f} ms  {where!s:<8} {span.name}  {attributes.get('pvdrace.outcome', '')}\n"


async def main(host: str, port: int) -> None:
    """One race below a span of the program's own."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
    tracer = provider.get_tracer("example")
    async with pvdrace.Connector(hooks=[OpenTelemetrySink(provider)]) as connector:
        with tracer.start_as_current_span("fetch"):
            connection = await connector.open_connection(host, port, tls=True, timeout=10)
            await connection.aclose()
    provider.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.host, arguments.port, backend=arguments.backend)
