"""Calls of tools: what a model may call, and its calls read out of what it wrote. Imports no torch."""

from adapterhub.tool_calls.reader import CallReader
from adapterhub.tool_calls.tool import Tool, Tools
from adapterhub.tool_calls.tool_call import ToolCall
from adapterhub.tool_calls.tool_use import ToolUse

__all__ = ["CallReader", "Tool", "ToolCall", "ToolUse", "Tools"]
