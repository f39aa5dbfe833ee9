// npm's openai, unchanged, on a WebSocket at /v1/responses: prints one JSON line per check, {name, ok, got}.
import OpenAI from 'openai';
import { ResponsesWS } from 'openai/resources/responses/ws';
import { ResponsesWebSocketSession } from 'openai/lib/responses/responses-websocket-session';

const say = (name, ok, got) => console.log(JSON.stringify({ name, ok: !!ok, got }));
const model = 'sim-1';
const want = [...Array(20).keys()].map((n) => `t${n} `).join('');
const tools = [{ type: 'function', name: 'get_weather', strict: true, parameters: { type: 'object',
	properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false } }];
const text = (response) => response.output.find((item) => item.type === 'message')?.content[0].text;

const ws = new ResponsesWS(new OpenAI({ baseURL: process.argv[2], apiKey: 'unused' }));
const session = new ResponsesWebSocketSession(ws, { maxLanes: 40, maxBufferedEvents: 10000, maxBufferedBytes: 1 << 24 });
await new Promise((resolve, reject) => { ws.socket.on('open', resolve); ws.socket.on('error', reject); });

const lane = session.lane();
lane.create({ model, input: 'hello' });
const first = await lane.finalResponse();
say('a response on the default lane', first.status === 'completed' && text(first) === want, first);
lane.create({ model, input: 'again', previous_response_id: first.id });
const second = await lane.finalResponse();
say('a continuation', text(second) === want && second.usage.input_tokens > first.usage.input_tokens + 20, second.usage);
lane.create({ model, input: 'the weather in Paris?', tools });
const asked = await lane.finalResponse();
const call = asked.output.find((item) => item.type === 'function_call');
lane.create({ model, tools, previous_response_id: asked.id, input: [{ type: 'function_call_output', call_id: call.call_id, output: 'rain' }] });
say('a call, and its output alone', text(await lane.finalResponse()) === want, call);
lane.create({ model, input: 'warm', generate: false });
const warm = await lane.finalResponse();
lane.create({ model, input: 'up', previous_response_id: warm.id });
say('a warm-up and what continues it', warm.output.length === 0 && text(await lane.finalResponse()) === want, warm.output);

const lanes = [...Array(8).keys()].map((n) => session.lane(`lane-${n}`));
lanes.forEach((l, n) => l.create({ model, input: `[[sim:tokens=${n + 1}]]` }));
const texts = (await Promise.all(lanes.map((l) => l.finalResponse()))).map(text);
say('eight lanes at once, not mixed up', texts.every((t, n) => t.trim().split(' ').length === n + 1), texts);

lane.create({ model, input: 'x', previous_response_id: 'resp_0' });
try {
	say('an unknown previous response', false, await lane.finalResponse());
} catch (error) {
	say('an unknown previous response is an error', error.error?.error?.code === 'previous_response_not_found', error.error);
}
lanes[0].create({ model, input: '[[sim:cut_mid,n=3]]' });
const failed = await lanes[0].finalResponse();
say('a cut answer is a failed response', failed.status === 'failed', failed);
session.close();
ws.close();
