// The official OpenAI SDK for Node: chat completions, responses, and its realtime client by wss.
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const baseURL = process.env.BASE_URL;
const client = new OpenAI({ baseURL, apiKey: "none-needed", maxRetries: 0 });
const text = (words) => ({ type: "input_text", text: words });

const chat = await client.chat.completions.create({
  model: "fake",
  messages: [{
    role: "user",
    content: [
      { type: "image_url", image_url: { url: "stream://door" } },
      { type: "text", text: "Colour?" },
    ],
  }],
});

const stream = client.responses.stream({
  model: "fake",
  instructions: "Be brief.",
  input: "What were you told?",
});
let streamed = "";
for await (const event of stream) {
  if (event.type === "response.output_text.delta") streamed += event.delta;
}
const first = await stream.finalResponse();
const second = await client.responses.create({
  model: "fake",
  previous_response_id: first.id,
  input: [{ role: "user", content: [{ type: "input_image", image_url: "stream://door", detail: "auto" },
    text("Colour?")] }],
});
const Seen = z.object({ count: z.number().int() });
const read = await client.responses.parse({
  model: "fake",
  input: "What is there?",
  text: { format: zodTextFormat(Seen, "seen") },
});

async function realtime() {
  const secure = new OpenAI({ baseURL: process.env.SECURE_URL, apiKey: "none-needed" });
  const socket = new OpenAIRealtimeWS(
    { model: "fake", options: { rejectUnauthorized: false } },
    secure,
  );
  const types = new Set();
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("event", (event) => types.add(event.type));
    socket.on("session.created", () => {
      socket.send({ type: "session.update", session: { type: "realtime", instructions: "Be brief.",
        output_modalities: ["text"], tools: [], tracing: "auto" } });
      socket.send({ type: "response.create", response: { input: [
        { type: "message", role: "user", content: [text("What were you told?")] }] } });
    });
    socket.on("response.output_text.done", (event) => {
      socket.close();
      resolve({ text: event.text, types: [...types] });
    });
  });
}

console.log(JSON.stringify({
  seen: chat.choices[0].message.content,
  streamed,
  again: second.output_text,
  count: read.output_parsed.count,
  realtime: await realtime(),
}));
