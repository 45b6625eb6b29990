"""The deterministic simulator: a composition root, like the CLI."""
