"""Conversion between units of measure."""

from collections.abc import Callable
from dataclasses import dataclass

from tasks.shared import registry

#: Each unit as (kind, factor to the kind's base unit). Exact by definition.
#: Source: BIPM, The International System of Units, 9th edition; NIST Special Publication 811, appendix B.
_UNITS: dict[str, tuple[str, float]] = {
    **{name: ("length", size) for name, size in (("mm", 0.001), ("cm", 0.01), ("m", 1.0), ("km", 1000.0))},
    **{name: ("length", size) for name, size in (("in", 0.0254), ("ft", 0.3048), ("yd", 0.9144), ("mi", 1609.344))},
    **{name: ("length", size) for name, size in (("nmi", 1852.0), ("里", 500.0))},
    **{name: ("mass", size) for name, size in (("mg", 1e-6), ("g", 0.001), ("kg", 1.0), ("t", 1000.0))},
    **{name: ("mass", size) for name, size in (("oz", 0.028349523125), ("lb", 0.45359237), ("斤", 0.5), ("两", 0.05))},
    **{
        name: ("volume", size)
        for name, size in (("ml", 0.001), ("l", 1.0), ("gal", 3.785411784), ("cup", 0.2365882365))
    },
    **{name: ("area", size) for name, size in (("m2", 1.0), ("km2", 1e6), ("ha", 1e4), ("acre", 4046.8564224))},
    **{name: ("area", size) for name, size in (("ft2", 0.09290304), ("亩", 10000 / 15))},
    **{
        name: ("speed", size)
        for name, size in (("m/s", 1.0), ("km/h", 1 / 3.6), ("mph", 0.44704), ("knot", 1852 / 3600))
    },
    **{name: ("time", size) for name, size in (("s", 1.0), ("min", 60.0), ("h", 3600.0), ("day", 86400.0))},
    **{name: ("data", size) for name, size in (("byte", 1.0), ("kb", 1e3), ("mb", 1e6), ("gb", 1e9), ("mib", 2.0**20))},
    **{name: ("data", size) for name, size in (("kib", 2.0**10), ("gib", 2.0**30))},
}
#: Each other name, and the unit it stands for.
_UNIT_NAMES: dict[str, str] = {
    other: unit
    for unit, others in {
        "mm": "millimetre millimeter millimetres millimeters 毫米",
        "cm": "centimetre centimeter centimetres centimeters 厘米",
        "m": "metre meter metres meters 米",
        "km": "kilometre kilometer kilometres kilometers 公里 千米",
        "in": "inch inches 英寸",
        "ft": "foot feet 英尺",
        "yd": "yard yards 码",
        "mi": "mile miles 英里",
        "g": "gram grams 克",
        "kg": "kilogram kilograms kilo kilos 公斤 千克",
        "t": "tonne tonnes 吨",
        "oz": "ounce ounces 盎司",
        "lb": "pound pounds lbs 磅",
        "ml": "millilitre milliliter millilitres milliliters 毫升",
        "l": "litre liter litres liters 升",
        "gal": "gallon gallons 加仑",
        "cup": "cups 杯",
        "m2": "m² 平方米",
        "ha": "hectare hectares 公顷",
        "acre": "acres 英亩",
        "km/h": "kmh kph",
        "knot": "knots 节",
        "s": "second seconds 秒",
        "min": "minute minutes 分钟",
        "h": "hour hours 小时",
        "day": "days 天",
        "byte": "bytes 字节",
        "c": "°c celsius 摄氏度",
        "f": "°f fahrenheit 华氏度",
        "k": "kelvin 开尔文",
    }.items()
    for other in others.split()
}
_TO_KELVIN: dict[str, Callable[[float], float]] = {
    "c": lambda t: t + 273.15,
    "f": lambda t: (t + 459.67) * 5 / 9,
    "k": lambda t: t,
}
_FROM_KELVIN: dict[str, Callable[[float], float]] = {
    "c": lambda t: t - 273.15,
    "f": lambda t: t * 9 / 5 - 459.67,
    "k": lambda t: t,
}


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A value with its unit."""

    value: float
    unit: str


@registry.function(
    name="numbers.convert_units",
    tags={"numbers", "units", "measure"},
    examples=(
        "how many kilometers is 26.2 miles?",
        "convert 180 pounds to kg",
        "what's 75 Fahrenheit in Celsius",
        "5英里等于多少公里",
        "把 3 斤换算成克",
    ),
)
def convert_units(value: float, from_unit: str, to_unit: str) -> Quantity:
    """Convert a measure to another unit of length, mass, volume, area, speed, time, data or temperature.

    Args:
        value: the measure in from_unit.
        from_unit: its unit, as a symbol or a name in English or Chinese (km, miles, 公里).
        to_unit: the unit to convert to.

    Raises:
        ValueError: if a unit is unknown, the two are of different kinds, or the temperature is below absolute zero.
    """
    source, target = _unit(from_unit), _unit(to_unit)
    if source in _TO_KELVIN and target in _TO_KELVIN:
        kelvin = _TO_KELVIN[source](value)
        if kelvin < 0:
            msg = f"{value:g} {from_unit} is below absolute zero"
            raise ValueError(msg)
        return Quantity(value=round(_FROM_KELVIN[target](kelvin), 10), unit=target)
    kinds = [_UNITS[unit][0] if unit in _UNITS else "temperature" for unit in (source, target)]
    if kinds[0] != kinds[1]:
        msg = f"{from_unit} measures {kinds[0]} and {to_unit} measures {kinds[1]}; one cannot become the other"
        raise ValueError(msg)
    return Quantity(value=float(f"{value * _UNITS[source][1] / _UNITS[target][1]:.12g}"), unit=target)


def _unit(name: str) -> str:
    plain = name.strip().casefold()
    unit = _UNIT_NAMES.get(plain, plain)
    if unit not in _UNITS and unit not in _TO_KELVIN:
        msg = f"the unit {name[:40]!r} is not known; known are {', '.join(sorted([*_UNITS, *_TO_KELVIN]))}"
        raise ValueError(msg)
    return unit
