"""One file through paramiko's SFTP client: put and get, which pipeline and prefetch."""

from __future__ import annotations

import paramiko

from benchmarks.clients.common import Job, parse


def transfer(job: Job) -> None:
    hosts = paramiko.HostKeys(job.known_hosts)
    with paramiko.Transport((job.host, job.port)) as transport:
        transport.get_security_options().ciphers = (job.cipher,)
        transport.start_client(timeout=30)
        if not hosts.check(f"[{job.host}]:{job.port}", transport.get_remote_server_key()):
            raise SystemExit("host key does not match")
        transport.auth_publickey(job.user, paramiko.PKey.from_path(job.key))
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        if job.direction == "up":
            sftp.put(job.source, job.target, confirm=False)
        else:
            sftp.get(job.source, job.target)


if __name__ == "__main__":
    transfer(parse())
