"""The legacy SCP protocol (scp -O, scp -t, scp -f), both sides, without I/O of its own but for the files."""
