// @openai/agents, unchanged, against /v1/responses: prints one JSON line per check, {name, ok, got}.
import { Agent, run, setDefaultOpenAIClient, setOpenAIAPI, setTracingDisabled, tool } from '@openai/agents';
import OpenAI from 'openai';
import { z } from 'zod';

const say = (name, ok, got) => console.log(JSON.stringify({ name, ok: !!ok, got }));
setTracingDisabled(true);
setDefaultOpenAIClient(new OpenAI({ baseURL: process.argv[2], apiKey: 'unused', maxRetries: 0 }));
setOpenAIAPI('responses');
const want = [...Array(20).keys()].map((n) => `t${n} `).join('');
const cities = [];
const weather = tool({ name: 'get_weather', description: 'w', parameters: z.object({ city: z.string() }),
	execute: async ({ city }) => { cities.push(city); return 'rain'; } });
const agent = new Agent({ name: 'a', instructions: 'be kind', model: 'sim-1', tools: [weather] });

const plain = await run(agent, 'hello');
say('a run', plain.finalOutput === want, plain.finalOutput);
const called = await run(agent, 'the weather in Paris?');
say('a run that calls a tool', called.finalOutput === want && cities.join() === 'Paris', called.finalOutput);
const streamed = await run(agent, 'the weather in Paris?', { stream: true });
for await (const event of streamed) void event;
await streamed.completed;
say('the same streamed', streamed.finalOutput === want && cities.length === 2, streamed.finalOutput);
