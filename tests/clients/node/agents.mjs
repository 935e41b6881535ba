// The OpenAI Agents SDK for JavaScript: an agent with a function, and a realtime agent.
import OpenAI from "openai";
import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, run, setTracingDisabled, tool }
  from "@openai/agents";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool as realtimeTool }
  from "@openai/agents/realtime";
import { z } from "zod";

setTracingDisabled(true);
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "none-needed", maxRetries: 0 });
const dial = tool({
  name: "dial",
  description: "Dial a number.",
  parameters: z.object({ number: z.string() }),
  execute: async () => "busy",
});
const asked = [{ role: "user", content: [
  { type: "input_image", image: "stream://door" }, { type: "input_text", text: "Colour?" }] }];

async function tried(model) {
  const agent = new Agent({ name: "Watcher", instructions: "Be brief.", model, tools: [dial] });
  const reader = new Agent({ name: "Reader", model, outputType: z.object({ count: z.number().int() }) });
  const streamed = await run(agent, "What were you told?", { stream: true });
  let told = "";
  for await (const piece of streamed.toTextStream()) told += piece;
  return {
    seen: (await run(agent, asked)).finalOutput,
    called: (await run(agent, "Please dial.")).finalOutput,
    told,
    count: (await run(reader, "What is there?")).finalOutput.count,
  };
}

const realtimeDial = realtimeTool({
  name: "dial",
  description: "Dial a number.",
  parameters: z.object({ number: z.string() }),
  execute: async () => "busy",
});

async function realtime(question) {
  const agent = new RealtimeAgent({
    name: "Watcher", instructions: "Be brief.", tools: [realtimeDial],
  });
  const url = process.env.BASE_URL.replace("http", "ws") + "/realtime?model=fake&stream=door";
  const transport = new OpenAIRealtimeWebSocket({ url, useInsecureApiKey: true });
  const session = new RealtimeSession(agent, {
    model: "fake", transport, config: { outputModalities: ["text"] }, tracingDisabled: true,
  });
  const types = new Set();
  const errors = [];
  const text = new Promise((resolve) => transport.on("*", (event) => {
    types.add(event.type);
    if (event.type === "response.output_text.done") resolve(event.text);
  }));
  session.on("error", ({ error }) => errors.push(error));
  await session.connect({ apiKey: "none-needed", url });
  session.sendMessage(question);
  const found = { text: await text, types: [...types], errors };
  session.close();
  return found;
}

const found = {
  responses: await tried(new OpenAIResponsesModel(client, "fake")),
  chat: await tried(new OpenAIChatCompletionsModel(client, "fake")),
  realtime: await realtime("What were you told about the colour?"),
  called: await realtime("Please dial."),
};
console.log(JSON.stringify(found));
process.exit(0);
