"""The kinds of cost that can be checked: one file each, behind the protocol of `_protocol`."""
