"""The functions that answers over a connection may call."""

from onlooker.core.errors import ClientError, InvalidRequest
from onlooker.core.protocol.client_events import ResponseConfig, SessionConfig
from onlooker.core.protocol.functions import FunctionTool, ToolNamed
from onlooker.engine.functions import Toolbox
from onlooker.engine.interface import EngineInfo
from onlooker.server.abilities import toolbox
from onlooker.server.config import Settings


def tools_of(
    response: ResponseConfig, session: SessionConfig, info: EngineInfo, settings: Settings
) -> Toolbox:
    """The functions that an answer may call: its own, or else the session's.

    Raises:
        InvalidRequest: the model cannot call functions, or a tool is none that it can.
        TooLarge: they take too many words.
    """
    try:
        return _toolbox(response, session, info, settings)
    except ClientError as error:
        error.param = f"response.{error.param}"
        raise


def session_trouble(
    session: SessionConfig, info: EngineInfo, settings: Settings
) -> ClientError | None:
    """What is wrong with a session's functions; None where nothing is."""
    try:
        _toolbox(ResponseConfig(), session, info, settings)
    except ClientError as error:
        return error
    return None


def _toolbox(
    response: ResponseConfig, session: SessionConfig, info: EngineInfo, settings: Settings
) -> Toolbox:
    tools, choice = session.tools or [], session.tool_choice
    if response.tools is not None:
        tools, choice = response.tools, choice if response.tools else None
    choice = response.tool_choice or choice or "auto"
    parallel = response.parallel_tool_calls
    functions = [tool for tool in tools if isinstance(tool, FunctionTool)]
    if len(functions) < len(tools):
        raise InvalidRequest(
            "a tool is a function that you run; servers of tools are not called from here: list "
            "their functions as tools of type 'function'",
            param="tools",
        )
    return toolbox(
        functions,
        f"={choice.name}" if isinstance(choice, ToolNamed) else choice,
        parallel=session.parallel_tool_calls if parallel is None else parallel,
        info=info,
        settings=settings,
    )
