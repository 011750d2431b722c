"""What user mode answers about itself: -h, -cpu help, and a wrong processor model."""

from __future__ import annotations

from pemu.cli.user_options import OPTIONS
from pemu.linux.execute import default_stack_size
from pemu.options.error import OptionError
from pemu.options.usage import option_table


def usage(target: str, prefix: str) -> str:
    """The answer to -h. prefix: what -L is where it is not given."""
    return f"""\
usage: pemu-{target} [options] program [arguments...]
Runs a Linux program that was built for {target}

Options and associated environment variables:

{option_table(OPTIONS)}
Defaults:
QEMU_LD_PREFIX  = {prefix}
QEMU_STACK_SIZE = {default_stack_size()} byte

Each variable may be spelt PEMU_... as well: that one counts where both are set,
and an option on the command line counts more than either. A switch's variable
switches it on whatever its value is.

-E and -U, and QEMU_SET_ENV and QEMU_UNSET_ENV, take several variables separated
by commas (a comma inside a value is written twice), and may be given repeatedly;
the last change of a variable counts. These are the same:
    -E A=1 -E B=2 -U C -U D
    -E A=1,B=2 -U C,D
    QEMU_SET_ENV=A=1,B=2 QEMU_UNSET_ENV=C,D
"""


def cpu_models(target: str) -> str:
    """The answer to -cpu help."""
    from pemu.isa.mips.models import help_text

    return help_text(register_bits(target))


def check_cpu(target: str, name: str) -> None:
    """Raise `OptionError` where the target has no processor model `name`."""
    from pemu.isa.mips.models import UnknownModel, UnsupportedModel, model

    try:
        model(name, register_bits(target))
    except (UnknownModel, UnsupportedModel) as error:
        raise OptionError(f"-cpu: {error}") from None


def register_bits(target: str) -> int:
    """Width of the registers of a target's processors."""
    from pemu.linux.target import TARGETS

    return TARGETS[target].xlen
