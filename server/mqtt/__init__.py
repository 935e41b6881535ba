"""Alerts and the state of streams for a broker of MQTT, with discovery for Home Assistant."""
