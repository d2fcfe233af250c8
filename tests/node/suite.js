'use strict';

// What npm's `ali-ons` (JSON frames, old route dialect) does with a broker:
//   NAMESRV_ADDR=127.0.0.1:9876 node suite.js
// Prints `PASS name ms` or `FAIL name reason` per check and a closing TOTAL line.

const { Consumer, Producer, Message } = require('ali-ons');

const NAMESRV = process.env.NAMESRV_ADDR;
const RUN = Date.now().toString(36);
const LIMIT_MS = 100_000;
const quiet = { debug() {}, info() {}, warn() {}, error: (...args) => process.env.VERBOSE && console.error(...args) };
const options = { nameSrv: [NAMESRV], httpclient: {}, logger: quiet };

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const name = (prefix, check) => `${prefix}_${RUN}_${check.name}`;

function require_(condition, reason) {
  if (!condition) throw new Error(reason);
}

async function producerOf(check) {
  const producer = new Producer({ ...options, producerGroup: name('PID', check) });
  producer.on('error', (e) => quiet.error(e));
  await producer.ready();
  return producer;
}

/** This client never creates a topic by sending: it fails on a topic without a route. */
async function topicOf(check, producer) {
  const topic = name('T', check);
  const client = producer._mqClient;
  const route = await client.getDefaultTopicRouteInfoFromNameServer('TBW102', 10_000);
  await client.createTopic(route.brokerDatas[0].brokerAddrs[0], 'TBW102', {
    topicName: topic, readQueueNums: 4, writeQueueNums: 4, perm: 6,
    topicFilterType: 'SINGLE_TAG', topicSysFlag: 0, order: false,
  }, 10_000);
  for (let i = 0; i < 100; i++) {
    try {
      return (await client.getTopicRouteInfoFromNameServer(topic, 10_000)) && topic;
    } catch (e) {
      await sleep(50);
    }
  }
  throw new Error(`no route for the created topic ${topic}`);
}

async function send(producer, topic, prefix, count, tag = 'TagA') {
  for (let i = 0; i < count; i++) {
    const result = await producer.send(new Message(topic, tag, `${prefix} ${i}`));
    require_(result.sendStatus === 'SEND_OK', `send ${i}: ${JSON.stringify(result)}`);
    require_(result.msgId, 'an answer without a message id');
  }
}

async function collect(check, topic, expression = '*', extra = {}, failFirst = false) {
  const messages = [];
  const consumer = new Consumer({ ...options, consumerGroup: name('CID', check), parallelConsumeLimit: 8, ...extra });
  consumer.on('error', (e) => quiet.error(e));
  consumer.subscribe(topic, expression, async (m) => {
    messages.push(m);
    return failFirst && m.reconsumeTimes === 0 ? Consumer.ACTION_RETRY : undefined;
  });
  await consumer.ready();
  return { consumer, messages };
}

async function expectBodies(messages, count, ms = 60_000) {
  const distinct = () => new Set(messages.map((m) => m.body.toString())).size;
  const end = Date.now() + ms;
  while (distinct() < count && Date.now() < end) await sleep(50);
  await sleep(300);
  require_(distinct() === count, `received ${distinct()} of ${count}`);
  require_(messages.length === count, `received ${messages.length}, not ${count}`);
}

async function a_thousand_sends_are_ok_and_a_thousand_arrive(check) {
  const producer = await producerOf(check);
  const topic = await topicOf(check, producer);
  await send(producer, topic, 'Hello RocketMQ', 1000);
  const { messages } = await collect(check, topic);
  await expectBodies(messages, 1000);
}

async function tags_and_bodies_come_back_unchanged(check) {
  const producer = await producerOf(check);
  const topic = await topicOf(check, producer);
  const large = 'x'.repeat(60_000);
  for (const [body, tag] of [['Grüße, 世界', 'TagA'], [large, 'TagB'], ['not wanted', 'TagC']]) {
    const message = new Message(topic, tag, body);
    message.keys = ['key-' + tag];
    const result = await producer.send(message);
    require_(result.sendStatus === 'SEND_OK', JSON.stringify(result));
  }
  const { messages } = await collect(check, topic, 'TagA || TagB');
  await expectBodies(messages, 2);
  const byTag = Object.fromEntries(messages.map((m) => [m.tags, m]));
  require_(byTag.TagA.body.toString() === 'Grüße, 世界', 'the body of TagA changed');
  require_(byTag.TagB.body.toString() === large, 'the body of TagB changed');
  require_(byTag.TagA.keys === 'key-TagA', `keys ${byTag.TagA.keys}`);
}

async function a_failed_message_comes_again_by_its_retry_topic(check) {
  const producer = await producerOf(check);
  const topic = await topicOf(check, producer);
  await send(producer, topic, 'fails once', 1);
  const { messages } = await collect(check, topic, '*', {}, true);
  const end = Date.now() + LIMIT_MS - 5000;
  while (messages.length < 2 && Date.now() < end) await sleep(100);
  const times = messages.map((m) => m.reconsumeTimes).join();
  require_(times === '0,1', `reconsume times ${times}`);
}

async function a_message_wakes_a_waiting_consumer(check) {
  const producer = await producerOf(check);
  const topic = await topicOf(check, producer);
  await send(producer, topic, 'first', 4);
  const { messages } = await collect(check, topic);
  await expectBodies(messages, 4);
  await sleep(2000);
  const start = Date.now();
  await send(producer, topic, 'second', 1);
  while (messages.length < 5 && Date.now() < start + 5000) await sleep(10);
  require_(messages.length === 5, 'a parked pull was not answered');
}

const CHECKS = [
  a_thousand_sends_are_ok_and_a_thousand_arrive,
  tags_and_bodies_come_back_unchanged,
  a_failed_message_comes_again_by_its_retry_topic,
  a_message_wakes_a_waiting_consumer,
];

async function run(check) {
  const start = Date.now();
  let timer;
  const limit = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`took longer than ${LIMIT_MS} ms`)), LIMIT_MS);
  });
  try {
    await Promise.race([check(check), limit]);
    console.log(`PASS ${check.name} ${Date.now() - start}`);
    return true;
  } catch (e) {
    console.log(`FAIL ${check.name} ${e.message.replace(/\n/g, ' ')}`);
    return false;
  } finally {
    clearTimeout(timer);
  }
}

(async () => {
  const only = process.argv[2] || '';
  const results = await Promise.all(CHECKS.filter((c) => c.name.includes(only)).map(run));
  const passed = results.filter(Boolean).length;
  console.log(`TOTAL ${passed} passed, ${results.length - passed} failed`);
  process.exit(results.length > 0 && passed === results.length ? 0 : 1);
})();
