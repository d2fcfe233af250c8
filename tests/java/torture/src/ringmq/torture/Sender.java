package ringmq.torture;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.exception.RemotingConnectException;
import org.apache.rocketmq.remoting.exception.RemotingTimeoutException;

/**
 * One producer thread: synchronous sends and batches to queues of its choice. The client's own retries are
 * off, so that each attempt is an event; a message whose outcome is open is sent again or given up.
 */
final class Sender implements Runnable {
    private static final int TIMEOUT_MS = 5_000;
    private static final int BATCH_LEN = 5;
    private static final int ATTEMPTS_MAX = 4;
    private static final int CODE_TIMEOUT = -1;
    private static final int CODE_LOST = -2;
    private static final int CODE_NOT_SENT = -3;

    private final Torture torture;
    private final DefaultMQProducer producer;
    private final int number;
    private final Random random;
    private long next;
    private Outgoing again;

    /** A message and how often it was tried. */
    private static final class Outgoing {
        Message message;
        MessageQueue queue;
        long uid;
        int digest;
        int attempt;
    }

    Sender(Torture torture, DefaultMQProducer producer, int number) {
        this.torture = torture;
        this.producer = producer;
        this.number = number;
        this.random = new Random(torture.run ^ number);
    }

    @Override
    public void run() {
        while (!torture.stop) {
            List<Outgoing> batch = new ArrayList<>();
            if (again != null) {
                batch.add(again);
                again = null;
            } else {
                String topic = torture.topics[random.nextInt(torture.topics.length)];
                MessageQueue queue = new MessageQueue(topic, torture.broker, random.nextInt(torture.queues));
                int count = random.nextInt(6) == 0 ? BATCH_LEN : 1;
                for (int i = 0; i < count; i++) {
                    batch.add(make(queue));
                }
            }
            if (!send(batch)) {
                torture.pause(20);
            }
        }
    }

    private Outgoing make(MessageQueue queue) {
        Outgoing out = new Outgoing();
        long sequence = next++;
        int lot = random.nextInt(200);
        int kind = lot == 0 ? Body.POISON : lot < 3 ? Body.LATER_ONCE : Body.PLAIN;
        byte[] body = Body.encode(torture.run, number, sequence, kind, queue.getQueueId(), random.nextInt(1000));
        String text = String.format("%016x-%d-%d", torture.run, number, sequence);
        out.message = new Message(queue.getTopic(), "TagJ", text, body);
        out.message.putUserProperty(Torture.UID_PROPERTY, text);
        out.queue = queue;
        out.uid = (long) number << 48 | sequence;
        out.digest = Body.digest(queue.getTopic(), "TagJ", text, text, body);
        return out;
    }

    /** Sends one message or a batch and writes what became of it; false when the broker seems gone. */
    private boolean send(List<Outgoing> batch) {
        int op = batch.size() == 1 ? History.SEND : History.SEND_BATCH;
        for (Outgoing out : batch) {
            out.attempt++;
        }
        torture.history.write(events(batch, op, History.INVOKE, (e, i) -> e.aux = TIMEOUT_MS));
        SendResult result = null;
        int code;
        try {
            if (batch.size() == 1) {
                result = producer.send(batch.get(0).message, batch.get(0).queue, TIMEOUT_MS);
            } else {
                List<Message> messages = new ArrayList<>();
                batch.forEach(out -> messages.add(out.message));
                result = producer.send(messages, batch.get(0).queue, TIMEOUT_MS);
            }
            code = codeOf(result.getSendStatus());
        } catch (MQBrokerException e) {
            code = e.getResponseCode();
        } catch (RemotingConnectException e) {
            code = CODE_NOT_SENT;
        } catch (RemotingTimeoutException e) {
            code = CODE_TIMEOUT;
        } catch (Exception e) {
            code = CODE_LOST;
        }
        int kind = kindOf(code);
        String[] ids = code == 0 ? result.getOffsetMsgId().split(",") : null;
        long first = code == 0 ? result.getQueueOffset() : -1;
        int answered = code;
        torture.history.write(events(batch, op, kind, (e, i) -> {
            e.code = answered;
            if (ids != null) {
                e.offset = first + i;
                e.phy = Long.parseUnsignedLong(ids[i].substring(ids[i].length() - 16), 16);
            }
        }));
        if (code == 0) {
            torture.acknowledged.addAndGet(batch.size());
            return true;
        }
        if (batch.size() == 1 && batch.get(0).attempt < ATTEMPTS_MAX && random.nextBoolean()) {
            again = batch.get(0);
        }
        return false;
    }

    private interface Fill {
        void fill(History.Event event, int index);
    }

    private History.Event[] events(List<Outgoing> batch, int op, int kind, Fill fill) {
        History.Event[] events = new History.Event[batch.size()];
        for (int i = 0; i < events.length; i++) {
            Outgoing out = batch.get(i);
            History.Event e = new History.Event(op, kind);
            e.uid = out.uid;
            e.digest = out.digest;
            e.proc = number;
            e.topic = out.queue.getTopic();
            e.queue = out.queue.getQueueId();
            e.attempt = out.attempt;
            e.flags = History.FLAG_SYNC;
            fill.fill(e, i);
            events[i] = e;
        }
        return events;
    }

    private static int codeOf(SendStatus status) {
        switch (status) {
            case SEND_OK:
                return 0;
            case FLUSH_DISK_TIMEOUT:
                return 10;
            case FLUSH_SLAVE_TIMEOUT:
                return 12;
            default:
                return 11;
        }
    }

    /** As crates/rmq-check/src/outcome.rs. */
    private static int kindOf(int code) {
        switch (code) {
            case 0:
                return History.OK;
            case 2:
            case 13:
            case 14:
            case 16:
            case 17:
            case 29:
            case CODE_NOT_SENT:
                return History.FAIL;
            default:
                return History.INFO;
        }
    }
}
