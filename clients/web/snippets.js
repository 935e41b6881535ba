// The same from a program: text to copy, with this server's address and this stream's id.

const KEY_VARIABLE = "ONLOOKER_API_KEY";

/**
 * @param {{base: URL, stream: string, model: string, needsKey: boolean, question: string}} facts
 * @returns {{id: string, name: string, about: string, code: string}[]}
 */
export function snippets({ base, stream, model, needsKey, question }) {
  const address = base.href.replace(/\/$/, "");
  const ask = JSON.stringify(question);
  const header = needsKey ? ` \\\n  -H "Authorization: Bearer $${KEY_VARIABLE}"` : "";
  return [
    {
      id: "python",
      name: "Python",
      about: "Onlooker's client. Feeds a stream of its own and asks about it.",
      code: `import asyncio
from onlooker.clients.python import Client

async def main():
    async with Client("${address}"${needsKey ? `, api_key="…"` : ""}) as client:
        async with client.stream("my-camera") as stream:
            with open("picture.jpg", "rb") as picture:
                await stream.send_frame(picture.read(), at_s=0.0)
            async for piece in stream.ask_stream(${ask}):
                print(piece, end="", flush=True)

asyncio.run(main())`,
    },
    {
      id: "openai",
      name: "OpenAI SDK",
      about: "Any OpenAI client can ask about the stream on this page.",
      code: `from openai import OpenAI

client = OpenAI(base_url="${address}/v1", api_key="${needsKey ? "…" : "not needed"}")
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": "stream://${stream}"}},
        {"type": "text", "text": ${ask}},
    ]}],
)
print(answer.choices[0].message.content)`,
    },
    {
      id: "curl",
      name: "curl",
      about: "One question about the stream on this page, over plain HTTP.",
      code: `curl ${address}/v1/streams/${stream}/questions${header} \\
  -H "Content-Type: application/json" \\
  -d '${JSON.stringify({ question }).replaceAll("'", "'\\''")}'`,
    },
    {
      id: "javascript",
      name: "JavaScript",
      about: "In a browser or Node 22: the answer as it is said.",
      code: `const socket = new WebSocket(
  "${address.replace(/^http/, "ws")}/v1/realtime?stream=${stream}",
  ["realtime"${needsKey ? `, "openai-insecure-api-key.…"` : ""}],
);
socket.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === "session.created") socket.send(JSON.stringify({
    type: "response.create",
    response: { input: [{ type: "message", role: "user",
      content: [{ type: "input_text", text: ${ask} }] }] },
  }));
  if (event.type === "response.output_text.delta") console.log(event.delta);
  if (event.type === "response.done") socket.close();
};`,
    },
    {
      id: "terminal",
      name: "Terminal",
      about: "Watch a file, a camera or the drawn world without writing any code.",
      code: `onlooker watch demo://?seed=7 --ask ${ask} --every 5 \\
  --server ${address}`,
    },
  ];
}
