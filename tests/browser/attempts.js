// What a hostile page can try, each in its own way, against a service at `target`. An attempt tells what
// it has got as a text: content, or a word about what happened.
'use strict';

const PATIENCE_MS = 10000;
const FRAME_MS = 2000; // one whose content becomes a file has no end of its own

const failed = (error) => `failed: ${error.name}`;

// The first that happens.
function settled(element, good = 'load', bad = 'error') {
    return new Promise((resolve) => {
        element.addEventListener(good, () => resolve('loaded'));
        element.addEventListener(bad, () => resolve('failed'));
    });
}

function put(tag, attributes, parent = document.body) {
    const element = document.createElement(tag);
    Object.assign(element, attributes);
    const outcome = settled(element);
    parent.append(element);
    return [element, outcome];
}

async function answer(url, options) {
    const response = await fetch(url, options);
    return `${response.type} ${response.status} ${await response.text()}`;
}

function xhr(method, url, body) {
    return new Promise((resolve) => {
        const request = new XMLHttpRequest();
        request.onloadend = () => resolve(`xhr ${request.status} ${request.responseText}`);
        request.open(method, url);
        request.send(body);
    });
}

// What a frame shows, if this page may see it, or what it sends to this page.
function framed(url) {
    return new Promise((resolve) => {
        const [frame, outcome] = put('iframe', { src: url });
        addEventListener('message', (event) => {
            if (event.source === frame.contentWindow) resolve(`told ${event.data}`);
        });
        const look = () => {
            const document = frame.contentDocument;
            resolve(document ? `frame ${document.documentElement.outerHTML}` : 'failed: not to be seen');
        };
        outcome.then(() => setTimeout(look, 300));
        setTimeout(look, FRAME_MS);
    });
}

function form(url, method, enctype, text) {
    const [frame, outcome] = put('iframe', { name: `frame ${Math.random()}` });
    const [element] = put('form', { action: url, method, enctype, target: frame.name });
    put('input', { name: text, value: 'x' }, element);
    element.submit();
    return outcome.then(() => new Promise((resolve) => setTimeout(resolve, 300, 'submitted')));
}

function socket(url) {
    const it = new WebSocket(url.replace('http', 'ws'));
    return settled(it, 'open');
}

function events(url) {
    return new Promise((resolve) => {
        const it = new EventSource(url);
        for (const name of ['message', 'data', 'record', 'control']) {
            it.addEventListener(name, (event) => {
                it.close();
                resolve(`event ${event.data}`);
            });
        }
        it.onerror = () => {
            it.close();
            resolve('failed');
        };
    });
}

// In a thread of a page: of the same origin, but without a document.
function worker(code) {
    const blob = new Blob([
        `(async () => { ${code} })().then(postMessage, (error) => postMessage('failed: ' + error))`]);
    const it = new Worker(URL.createObjectURL(blob));
    return new Promise((resolve) => { it.onmessage = (event) => resolve(event.data); });
}

async function styled(url) {
    const [mark] = put('div', { id: 'mark' });
    const [, outcome] = put('link', { rel: 'stylesheet', href: url });
    const word = await outcome;
    return getComputedStyle(mark).width === '77px' ? 'loaded: secret width' : word;
}

// One after the other: they all say what they know in the same place.
let last = Promise.resolve();
function scripted(attributes) {
    last = last.then(async () => {
        delete window.stolen;
        const word = await put('script', attributes)[1];
        return window.stolen || word;
    });
    return last;
}

function drawn(attributes) {
    const [image, outcome] = put('img', attributes);
    return outcome.then((word) => (image.naturalWidth ? `${word} ${image.naturalWidth}` : word));
}

// Changes. At /logs, `url` is a log of the attempt's own, which is not there yet; at /v1/stream it is one
// that all share, since there an append makes none. `text` names the attempt.
const POST = { method: 'POST' };
const plain = { 'Content-Type': 'text/plain' };
const json = { 'Content-Type': 'application/json' };
const changes = {
    'fetch-plain': (url, text) => answer(url, { ...POST, headers: plain, body: text }),
    'fetch-no-cors': (url, text) => answer(url, { ...POST, mode: 'no-cors', headers: plain, body: text }),
    'fetch-nameless': (url, text) => answer(url, {
        ...POST, mode: 'no-cors', referrerPolicy: 'no-referrer', headers: plain, body: text }),
    'fetch-keepalive': (url, text) => answer(url, { ...POST, keepalive: true, headers: plain, body: text }),
    'fetch-credentials': (url, text) => answer(url, {
        ...POST, mode: 'no-cors', credentials: 'include', headers: plain, body: text }),
    'fetch-typeless': (url, text) => answer(url, { ...POST, body: new Blob([text]) }),
    'fetch-urlencoded': (url, text) => answer(url, { ...POST, body: new URLSearchParams({ text }) }),
    'fetch-multipart': (url, text) => {
        const body = new FormData();
        body.append('text', text);
        return answer(url, { ...POST, body });
    },
    'fetch-json': (url, text) => answer(url, { ...POST, headers: json, body: JSON.stringify(text) }),
    'fetch-put': (url) => answer(url, { method: 'PUT', headers: plain }),
    'fetch-header': (url, text) => answer(url, {
        ...POST, headers: { ...plain, 'Idempotency-Key': `"${text}"` }, body: text }),
    'fetch-redirected': (url, text, site) => answer(`${site}/redirect?${url}`, {
        ...POST, headers: plain, body: text }),
    'fetch-redirected-no-cors': (url, text, site) => answer(`${site}/redirect?${url}`, {
        ...POST, mode: 'no-cors', headers: plain, body: text }),
    'xhr-plain': (url, text) => xhr('POST', url, text),
    'worker-plain': (url, text) => worker(
        `const sent = await fetch('${url}', {method: 'POST', mode: 'no-cors', body: '${text}'});
         return sent.type + ' ' + sent.status`),
    'beacon': (url, text) => navigator.sendBeacon(url, text) && 'sent',
    'beacon-form': (url, text) => navigator.sendBeacon(url, new URLSearchParams({ text })) && 'sent',
    'form-plain': (url, text) => form(url, 'post', 'text/plain', text),
    'form-urlencoded': (url, text) => form(url, 'post', 'application/x-www-form-urlencoded', text),
    'form-multipart': (url, text) => form(url, 'post', 'multipart/form-data', text),
    'form-redirected': (url, text, site) => form(`${site}/redirect?${url}`, 'post', 'text/plain', text),
    'ping': (url) => {
        const [link] = put('a', { ping: url, href: '#there' });
        link.click();
        return 'sent';
    },
    'report': (url, text, site) => framed(`${site}/report?${url}`).then(() => 'sent'),
};

// What would be different afterwards in a log that is there, which is the attempt's own.
const harms = {
    'append': (logs) => answer(`${logs.plain}append`, { ...POST, mode: 'no-cors', body: 'harm' }),
    'append-stream': (logs) => answer(`${logs.stream}append-stream`, {
        ...POST, mode: 'no-cors', headers: plain, body: 'harm' }),
    'trim': (logs) => answer(`${logs.plain}trim/trim?before=1`, { ...POST, mode: 'no-cors' }),
    'close': (logs) => answer(`${logs.stream}close`, {
        ...POST, headers: { ...plain, 'Stream-Closed': 'true' } }),
    'delete': (logs) => answer(`${logs.plain}delete`, { method: 'DELETE' }),
    'delete-stream': (logs) => answer(`${logs.stream}delete-stream`, { method: 'DELETE' }),
    'delete-xhr': (logs) => xhr('DELETE', `${logs.plain}delete-xhr`),
    'patch': (logs) => answer(`${logs.plain}patch`, {
        method: 'PATCH', headers: json, body: '{"retention":{"records":1}}' }),
};

// What would show something. n makes a target the attempt's own.
const reads = {
    'lines': (target, n) => answer(`${target}/logs/kept/records?offset=0&limit=${n}`),
    'lines-no-cors': (target, n) => answer(`${target}/logs/kept/records?offset=0&limit=${n}`, {
        mode: 'no-cors' }),
    'lines-credentials': (target, n) => answer(`${target}/logs/kept/records?offset=0&limit=${n}`, {
        credentials: 'include' }),
    'lines-xhr': (target, n) => xhr('GET', `${target}/logs/kept/records?offset=0&limit=${n}`),
    'lines-frame': (target, n) => framed(`${target}/logs/kept/records?offset=0&limit=${n}`),
    'lines-events': (target, n) => events(`${target}/logs/kept/records?offset=0&limit=${n}`),
    'lines-worker': (target, n) => worker(
        `return (await fetch('${target}/logs/kept/records?offset=0&limit=${n}')).text()`),
    'lines-redirected': (target, n, site) => answer(
        `${site}/redirect?${target}/logs/kept/records?offset=0&limit=${n}`),
    'lines-socket': (target, n) => socket(`${target}/logs/kept/records?offset=0&limit=${n}`),
    'record': (target) => answer(`${target}/logs/kept/records/0`),
    'record-script': (target) => scripted({ src: `${target}/logs/code/records/0` }),
    'record-range': (target) => answer(`${target}/logs/kept/records/0`, { headers: { Range: 'bytes=0-3' } }),
    'logs': (target) => answer(`${target}/logs`),
    'log': (target) => answer(`${target}/logs/kept`),
    'metrics': (target) => answer(`${target}/metrics`),
    'stats': (target) => answer(`${target}/stats`),
    'health': (target) => answer(`${target}/livez`),
    'health-no-cors': (target) => answer(`${target}/livez`, { mode: 'no-cors' }),
    'stream': (target, n) => answer(`${target}/v1/stream/kept?cursor=${n}`),
    'stream-no-cors': (target, n) => answer(`${target}/v1/stream/kept?cursor=${n}`, { mode: 'no-cors' }),
    'stream-head': (target, n) => answer(`${target}/v1/stream/kept?cursor=${n}`, { method: 'HEAD' }),
    'stream-frame': (target, n) => framed(`${target}/v1/stream/kept?cursor=${n}`),
    'stream-events': (target, n) => events(`${target}/v1/stream/kept?offset=-1&live=sse&cursor=${n}`),
    'stream-socket': (target, n) => socket(`${target}/v1/stream/kept?cursor=${n}`),
    'image': (target, n) => drawn({ src: `${target}/v1/stream/image?cursor=${n}` }),
    'image-cors': (target, n) => drawn({
        crossOrigin: 'anonymous', src: `${target}/v1/stream/image?cursor=${n}` }),
    'object': (target, n) => put('object', { data: `${target}/v1/stream/image?cursor=${n}` })[1],
    'script': (target, n) => scripted({ src: `${target}/v1/stream/code?cursor=${n}` }),
    'script-module': (target, n) => scripted({ type: 'module', src: `${target}/v1/stream/code?cursor=${n}` }),
    'script-import': (target, n) => import(`${target}/v1/stream/code?cursor=${n}`).then(() => 'loaded'),
    'script-worker': (target, n) => worker(
        `importScripts('${target}/v1/stream/code?cursor=${n}'); return 'loaded'`),
    'style': (target, n) => styled(`${target}/v1/stream/style?cursor=${n}`),
    // A page in a stream, which would have the rights of the service's own pages.
    'page-frame': (target, n) => framed(`${target}/v1/stream/page?cursor=${n}`),
};

function bounded(begin) {
    const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, 'failed: no answer'));
    return Promise.race([(async () => begin())().catch(failed), late]);
}

// What the browser itself tells of what it has fetched, other than refusals.
function measured(target) {
    return performance.getEntriesByType('resource')
        .filter(({ name }) => name.startsWith(`${target}/logs`) || name.startsWith(`${target}/v1`))
        .filter(({ encodedBodySize, responseStatus }) => (
            (encodedBodySize || responseStatus) && responseStatus < 400))
        .map(({ name, encodedBodySize }) => `loaded ${name} ${encodedBodySize}`);
}

// attack(target, site, run, first): tries everything, at once. `site` is a server of the page's author;
// `run` begins the names of logs; the attempts to read are counted from `first`.
async function attack(target, site, run, first) {
    const outcomes = {};
    const waiting = [];
    const harmed = { plain: `${target}/logs/${run}.`, stream: `${target}/v1/stream/${run}.` };
    const attempt = (name, begin) => {
        waiting.push(bounded(begin).then((outcome) => { outcomes[name] = String(outcome); }));
    };
    let n = first;
    for (const [name, begin] of Object.entries(reads)) {
        const own = n++;
        attempt(`read ${name}`, () => begin(target, own, site));
    }
    for (const [name, begin] of Object.entries(changes)) {
        const text = `${run}.${name}`;
        const stream = name === 'fetch-put' ? `${text}.stream` : `${run}.stream`;
        attempt(`change ${name}`, () => begin(`${target}/logs/${text}`, text, site));
        attempt(`change-stream ${name}`, () => begin(`${target}/v1/stream/${stream}`, text, site));
    }
    for (const [name, begin] of Object.entries(harms)) {
        attempt(`harm ${name}`, () => begin(harmed));
    }
    await Promise.all(waiting);
    outcomes['read sizes'] = measured(target).join('\n');
    return outcomes;
}
