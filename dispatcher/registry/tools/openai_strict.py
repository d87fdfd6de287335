"""Which schemas OpenAI's strict mode takes as they are.

Strict mode makes the model keep to the schema, but wants every property required. A function with defaults is offered
without it: made required and nullable, its defaults could no longer be left out.
"""

from typing import Final

from dispatcher.registry.schema import JsonSchema, iterate_schemas

#: Source: OpenAI API guide, Structured Outputs, "Supported schemas".
_KEYWORDS: Final = {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$defs", "$ref"),
    *("title", "description", "pattern", "format", "minItems", "maxItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


def fits_strict_mode(schema: JsonSchema) -> bool:
    """Whether the schema of all arguments can be given with `strict: true`."""
    return all(_fits(part) for part in iterate_schemas(schema))


def _fits(part: JsonSchema) -> bool:
    if not part.keys() <= _KEYWORDS or not part.keys() & {"type", "anyOf", "$ref", "enum", "const"}:
        return False
    if part.get("type") == "object":
        properties, required = part.get("properties"), part.get("required", [])
        closed = part.get("additionalProperties") is False
        return closed and isinstance(properties, dict) and isinstance(required, list) and {*properties} == {*required}
    if "$ref" in part and part.keys() & {"type", "anyOf"}:
        return False
    pattern = part.get("pattern", "")
    return part.get("format", "date") in _FORMATS and isinstance(pattern, str) and "(?" not in pattern
