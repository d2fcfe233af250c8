package ringmq.e2e.admin;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** Runs mqadmin commands in this process and reads what they print. */
final class MqAdmin {
    private final String namesrv;
    private String last = "";

    MqAdmin(String namesrv) {
        this.namesrv = namesrv;
    }

    String lastOutput() {
        return last;
    }

    /** The printed lines; an exception that the command printed is an error. */
    List<String> run(String line) throws Exception {
        List<String> lines = runFailing(line);
        for (int i = 0; i < lines.size(); i++) {
            if (lines.get(i).contains("SubCommandException") || lines.get(i).startsWith("Exception in")) {
                String cause = lines.stream().filter(l -> l.startsWith("Caused by")).findFirst().orElse("");
                throw new IllegalStateException("`" + line + "` failed: " + lines.get(i) + " " + cause);
            }
        }
        return lines;
    }

    List<String> runFailing(String line) throws Exception {
        List<String> words = new ArrayList<>(Arrays.asList(line.split(" ")));
        words.add("-n");
        words.add(namesrv);
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(bytes, true, "UTF-8");
        System.setOut(capture);
        System.setErr(capture);
        try {
            MQAdminStartup.main0(words.toArray(new String[0]), null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        last = line + "\n" + bytes.toString("UTF-8");
        return Arrays.asList(bytes.toString("UTF-8").split("\r?\n"));
    }

    static void that(boolean condition, String reason) {
        if (!condition) {
            throw new IllegalStateException(reason);
        }
    }

    static void equal(Object expected, Object found, String what) {
        that(expected.equals(found), what + ": expected " + expected + ", found " + found);
    }

    static void matches(String pattern, String found, String what) {
        that(found.matches(pattern), what + ": " + found + " is not like " + pattern);
    }

    static void contains(List<String> lines, String text) {
        that(lines.stream().anyMatch(line -> line.contains(text)), "no line with `" + text + "`");
    }

    /** A heading with these columns in this order. */
    static void columns(List<String> lines, String... columns) {
        List<String> heading = lines.stream().filter(line -> line.startsWith(columns[0])).findFirst()
            .map(line -> Arrays.asList(line.trim().split("\\s{2,}|\\s+(?=#)"))).orElse(new ArrayList<>());
        equal(Arrays.asList(columns), heading, "heading");
    }

    /** The words of the first row, headings aside, that contains the text. */
    static String[] row(List<String> lines, String text) {
        return lines.stream().filter(line -> !line.startsWith("#") && line.contains(text)).findFirst()
            .orElseThrow(() -> new IllegalStateException("no row with `" + text + "`")).trim().split("\\s+");
    }
}
