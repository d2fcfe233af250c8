package ringmq.torture;

import java.io.BufferedOutputStream;
import java.io.Closeable;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * The history of this process, in the format of crates/rmq-check (docs/testing.md): a header, then
 * records of 64 bytes, and a side table of strings. The clock is read under the lock, so that the file is in
 * time order; System.nanoTime is CLOCK_MONOTONIC, as in the other processes of the run.
 */
final class History implements Closeable {
    static final int INVOKE = 1;
    static final int OK = 2;
    static final int FAIL = 3;
    static final int INFO = 4;

    static final int SEND = 1;
    static final int SEND_BATCH = 2;
    static final int DELIVER = 3;
    static final int CONSUME_END = 5;
    static final int OFFSET_COMMIT = 9;
    static final int OFFSET_QUERY = 10;
    static final int SUBSCRIBE = 26;

    static final int NO_QUEUE = 0xFFFF;
    static final int FLAG_BODY_BAD = 1;
    static final int FLAG_SYNC = 2;

    private final BufferedOutputStream records;
    private final FileOutputStream side;
    private final Map<String, Short> strings = new HashMap<>();

    History(String path, long run) throws IOException {
        records = new BufferedOutputStream(new FileOutputStream(path), 1 << 16);
        side = new FileOutputStream(path + ".strings");
        ByteBuffer header = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN);
        header.put("RMQHIST1".getBytes(StandardCharsets.US_ASCII)).putInt(64).putInt(0).putLong(run);
        records.write(header.array());
        strings.put("", (short) 0);
    }

    /** What a record says; whatever is not set stays at its neutral value. */
    static final class Event {
        int op;
        int kind;
        long uid;
        long offset = -1;
        long phy = -1;
        long aux;
        int digest;
        int code;
        int proc;
        int queue = NO_QUEUE;
        String topic = "";
        String group = "";
        int attempt;
        int flags;

        Event(int op, int kind) {
            this.op = op;
            this.kind = kind;
        }
    }

    /** Writes events of one instant. */
    synchronized void write(Event... events) {
        try {
            short[][] ids = new short[events.length][];
            for (int i = 0; i < events.length; i++) {
                ids[i] = new short[] {string(events[i].topic), string(events[i].group)};
            }
            long now = System.nanoTime();
            for (int i = 0; i < events.length; i++) {
                records.write(encode(events[i], now, ids[i][0], ids[i][1]));
            }
        } catch (IOException e) {
            // A history with a hole would be judged wrongly.
            e.printStackTrace();
            Runtime.getRuntime().halt(3);
        }
    }

    private static byte[] encode(Event e, long now, short topic, short group) {
        ByteBuffer out = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN);
        out.putLong(now).putLong(e.uid).putLong(e.offset).putLong(e.phy).putLong(e.aux);
        out.putInt(e.digest).putInt(e.code);
        out.putShort((short) e.proc).putShort((short) e.queue).putShort(topic).putShort(group).putShort((short) 0);
        out.put((byte) e.kind).put((byte) e.op).put((byte) e.attempt).put((byte) e.flags).putShort((short) 0);
        return out.array();
    }

    private short string(String text) throws IOException {
        Short known = strings.get(text);
        if (known != null) {
            return known;
        }
        short id = (short) strings.size();
        strings.put(text, id);
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        ByteBuffer entry = ByteBuffer.allocate(4 + bytes.length).order(ByteOrder.LITTLE_ENDIAN);
        side.write(entry.putShort(id).putShort((short) bytes.length).put(bytes).array());
        return id;
    }

    @Override
    public synchronized void close() throws IOException {
        records.close();
        side.close();
    }
}
