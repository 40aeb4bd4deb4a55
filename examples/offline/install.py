"""Install packages from a channel folder into a prefix, without a network."""

import argparse
import asyncio
from pathlib import Path

from rattler import Channel, install, solve
from rattler.index import index_fs


async def main(channel: Path, prefix: Path, packages: list[str]) -> None:
    """Index the folder, solve for the packages and install them."""
    await index_fs(channel)
    records = await solve([Channel(channel.resolve().as_uri())], packages, platforms=["noarch"])
    await install(records, target_prefix=prefix, show_progress=False)
    for record in records:
        print(f"{record.name.normalized} {record.version}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("channel", type=Path, help="folder that holds noarch/")
    parser.add_argument("prefix", type=Path, help="folder of the environment")
    parser.add_argument("packages", nargs="+")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.channel, arguments.prefix, arguments.packages))
