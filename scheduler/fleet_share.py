"""How servers share a rate that a tenant has on all of them together, without asking at each
frame.

Each server tells the others now and then how much it was offered, and takes a share by this law.
All shares together are the rate, where all know the same; nobody is left without one.
"""

from collections.abc import Sequence

LEAST_SHARE = 0.05
"""What is set aside, as a part of an equal share, for a server that was offered nothing so far:
what comes there next is taken at once."""


def fleet_share(rate_per_s: float, own_per_s: float, others_per_s: Sequence[float] = ()) -> float:
    """This server's share of a rate.

    Where all demand fits, each server has its own, and an equal part of the rest. Where it does
    not, shares are in proportion to demand: a frame has the same chance wherever it arrives.

    Args:
        rate_per_s: what the tenant may send a second, to all servers together; above 0.
        own_per_s: what this server was offered a second, as it told the others.
        others_per_s: what each of the other servers was offered, 0 for those without any.
    """
    num_servers = len(others_per_s) + 1
    least = LEAST_SHARE * rate_per_s / num_servers
    own = max(own_per_s, least)
    wanted = own + sum(max(other, least) for other in others_per_s)
    if wanted > rate_per_s:
        return rate_per_s * own / wanted
    return own + (rate_per_s - wanted) / num_servers
