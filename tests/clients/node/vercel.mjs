// The Vercel AI SDK with its OpenAI provider: responses (its default) and chat completions.
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({
  baseURL: process.env.BASE_URL,
  apiKey: "none-needed",
  headers: { "Onlooker-Stream": "door" },
});
const dial = tool({
  description: "Dial a number.",
  inputSchema: z.object({ number: z.string() }),
  execute: async () => "busy",
});

async function tried(model) {
  const streamed = streamText({ model, system: "Be brief.", prompt: "What were you told?" });
  let told = "";
  for await (const piece of streamed.textStream) told += piece;
  const called = await generateText({ model, prompt: "Please dial.", tools: { dial },
    stopWhen: stepCountIs(3) });
  const read = await generateObject({ model, prompt: "What is there?",
    schema: z.object({ count: z.number().int() }) });
  return {
    seen: (await generateText({ model, prompt: "Colour?" })).text,
    told,
    called: called.text,
    count: read.object.count,
  };
}

console.log(JSON.stringify({
  responses: await tried(openai("fake")),
  chat: await tried(openai.chat("fake")),
}));
