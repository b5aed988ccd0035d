"""The HTTP door, compatible with OpenAI's API. Needs the extra `http`."""
