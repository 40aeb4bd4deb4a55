"""``python -m phasic_models.cli``, where the command itself is not on the search path."""

from . import main

if __name__ == "__main__":
    main()
