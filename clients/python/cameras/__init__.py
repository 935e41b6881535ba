"""`onlooker cameras`: finds ONVIF cameras in the network, and the addresses of their video."""
