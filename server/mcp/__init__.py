"""MCP: the server as tools and resources of agents, over Streamable HTTP and over stdio."""
