import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import org.apache.rocketmq.filter.expression.BooleanExpression;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.parser.SelectorParser;

/** Reads messages and expressions, writes what the official library answers. See record.py. */
class Answers {
    record Message(Map<String, String> properties) implements EvaluationContext {
        @Override
        public Object get(String name) {
            return properties.get(name);
        }

        @Override
        public Map<String, Object> keyValues() {
            return new HashMap<>(properties);
        }
    }

    public static void main(String[] args) {
        List<Message> messages = new ArrayList<>();
        StringBuilder out = new StringBuilder();
        Scanner in = new Scanner(System.in, StandardCharsets.UTF_8);
        while (in.hasNextLine()) {
            String line = in.nextLine();
            String[] parts = line.split("\t", -1);
            if (parts[0].equals("message")) {
                messages.add(message(parts));
                out.append(line).append('\n');
            } else {
                out.append(line).append('\t').append(answers(unescape(parts[1]), messages)).append('\n');
            }
        }
        System.out.write(out.toString().getBytes(StandardCharsets.UTF_8), 0, out.toString().getBytes(StandardCharsets.UTF_8).length);
        System.out.flush();
    }

    private static Message message(String[] parts) {
        Map<String, String> properties = new HashMap<>();
        for (int i = 1; i < parts.length; i++) {
            String[] pair = parts[i].split("=", 2);
            properties.put(pair[0], unescape(pair[1]));
        }
        return new Message(properties);
    }

    private static String answers(String text, List<Message> messages) {
        BooleanExpression expression;
        try {
            expression = SelectorParser.parse(text);
        } catch (Throwable error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            boolean spoken = cause.getClass() == RuntimeException.class;
            return "refused\t" + (spoken ? escape(String.valueOf(cause.getMessage())) : "");
        }
        StringBuilder answers = new StringBuilder();
        for (Message message : messages) {
            try {
                Object value = expression.evaluate(message);
                answers.append(value == null ? 'N' : value.equals(Boolean.TRUE) ? 'T' : 'F');
            } catch (Throwable error) {
                answers.append('X');
            }
        }
        return answers + "\t";
    }

    private static String escape(String text) {
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t");
    }

    private static String unescape(String text) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '\\') {
                char d = text.charAt(++i);
                out.append(d == 'n' ? '\n' : d == 'r' ? '\r' : d == 't' ? '\t' : d);
            } else {
                out.append(c);
            }
        }
        return out.toString();
    }
}
