"""fs_status codes as exceptions, for the other native modules (status.pxd); nothing in it is for Python."""
