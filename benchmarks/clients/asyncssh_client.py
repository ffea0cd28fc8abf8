"""One file through asyncssh's SFTP client, as its documentation shows it."""

from __future__ import annotations

import asyncio

import asyncssh

from benchmarks.clients.common import Job, parse


async def transfer(job: Job) -> None:
    async with (
        asyncssh.connect(
            job.host,
            job.port,
            username=job.user,
            client_keys=[job.key],
            known_hosts=job.known_hosts,
            encryption_algs=[job.cipher],
            agent_path=None,
            config=None,
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        await (sftp.put if job.direction == "up" else sftp.get)(job.source, job.target)


if __name__ == "__main__":
    asyncio.run(transfer(parse()))
