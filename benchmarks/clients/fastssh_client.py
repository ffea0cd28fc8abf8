"""One file through fastssh's SFTP client."""

from __future__ import annotations

import fastssh
from benchmarks.clients.common import Job, parse


async def transfer(job: Job) -> None:
    async with (
        fastssh.connect(
            job.host,
            job.port,
            user=job.user,
            identity_files=[job.key],
            identities_only=True,
            agent_socket="none",
            user_known_hosts=[job.known_hosts],
            global_known_hosts=[],
            ciphers=(job.cipher,),
        ) as connection,
        await connection.sftp() as sftp,
    ):
        if job.direction == "up":
            await sftp.put_file(job.source, job.target)
        else:
            await sftp.get_file(job.source, job.target)


if __name__ == "__main__":
    fastssh.run(transfer(parse()))
