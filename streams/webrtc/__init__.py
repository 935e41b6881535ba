"""Video that comes in over WebRTC: offers, answers, packets to frames, a peer for each session."""
