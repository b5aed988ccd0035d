"""The gRPC service: names, prompts and streams around one engine. Brings the `serve` verb."""
