// npm's openai, unchanged, for the scripts beside this one: over HTTP/1.1, or, where the address is https:, over
// HTTP/2 by undici's fetch, which then speaks nothing else.
import OpenAI from 'openai';

async function http2() {
	const { Agent, fetch } = await import('undici');
	const { readFileSync } = await import('node:fs');
	const dispatcher = new Agent({ allowH2: true, connect: { ca: readFileSync(process.env.CA_FILE), ALPNProtocols: ['h2'] } });
	return { fetch: (url, init) => fetch(url, { ...init, dispatcher }) };
}

const secure = process.argv[2].startsWith('https:');
export const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'unused', maxRetries: 0, ...(secure ? await http2() : {}) });
