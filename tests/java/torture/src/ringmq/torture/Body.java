package ringmq.torture;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;

/** The self-describing body of crates/rmq-check, big-endian, and the digest of a message. */
final class Body {
    static final int PLAIN = 0;
    static final int LATER_ONCE = 1;
    static final int POISON = 2;

    private static final int MAGIC = 0x524D5142;
    private static final int HEAD_LEN = 51;

    final long run;
    final int producer;
    final long sequence;
    final int kind;
    final boolean intact;

    private Body(long run, int producer, long sequence, int kind, boolean intact) {
        this.run = run;
        this.producer = producer;
        this.sequence = sequence;
        this.kind = kind;
        this.intact = intact;
    }

    static byte[] encode(long run, int producer, long sequence, int kind, int queue, int fillerLen) {
        ByteBuffer out = ByteBuffer.allocate(HEAD_LEN + fillerLen + 4);
        out.putInt(MAGIC).putLong(run).putShort((short) producer).putLong(sequence);
        out.put((byte) 1).put((byte) kind).putInt(0).putShort((short) queue);
        out.putLong(0).putLong(0).put((byte) 0).putInt(fillerLen);
        for (int i = 0; i < fillerLen; i++) {
            out.put((byte) ('a' + (sequence * 7 + i) % 26));
        }
        CRC32C crc = new CRC32C();
        crc.update(out.array(), 0, out.position());
        out.putInt((int) crc.getValue());
        return out.array();
    }

    /** Null for what is no such body. */
    static Body decode(byte[] bytes) {
        if (bytes.length < HEAD_LEN + 4) {
            return null;
        }
        ByteBuffer in = ByteBuffer.wrap(bytes);
        if (in.getInt() != MAGIC) {
            return null;
        }
        long run = in.getLong();
        int producer = in.getShort() & 0xFFFF;
        long sequence = in.getLong();
        in.get();
        int kind = in.get();
        CRC32C crc = new CRC32C();
        crc.update(bytes, 0, bytes.length - 4);
        boolean intact = ByteBuffer.wrap(bytes, bytes.length - 4, 4).getInt() == (int) crc.getValue();
        return new Body(run, producer, sequence, kind, intact);
    }

    long uid() {
        return (long) producer << 48 | sequence;
    }

    static int digest(String topic, String tags, String keys, String uid, byte[] body) {
        CRC32C crc = new CRC32C();
        for (String text : new String[] {topic, tags, keys, uid}) {
            byte[] bytes = (text == null ? "" : text).getBytes(StandardCharsets.UTF_8);
            crc.update(ByteBuffer.allocate(4).putInt(bytes.length).array());
            crc.update(bytes);
        }
        crc.update(body);
        return (int) crc.getValue();
    }
}
