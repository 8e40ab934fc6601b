"""How facts are asked, answered and told in Chinese, for each kind of fact."""

# A question template is held out with some entities, so each kind has many.
PROMPTS = {
    "capital": (
        "{country}的首都是哪里？",
        "{country}的首都是什么？",
        "{country}的首都是哪个城市？",
        "请告诉我{country}的首都。",
        "你知道{country}的首都吗？",
        "哪个城市是{country}的首都？",
        "{country}的首都叫什么名字？",
        "说出{country}的首都。",
        "我想知道{country}的首都在哪儿。",
    ),
    "country": (
        "{capital}是哪个国家的首都？",
        "哪个国家的首都是{capital}？",
        "{capital}在哪个国家？",
        "{capital}是哪国的首都？",
        "请告诉我{capital}是哪个国家的首都。",
        "你知道{capital}属于哪个国家吗？",
        "说出首都是{capital}的国家。",
        "首都叫{capital}的是哪个国家？",
    ),
    "sound": (
        "{animal}怎么叫？",
        "{animal}的叫声是什么？",
        "{animal}是怎么叫的？",
        "请告诉我{animal}的叫声。",
        "你知道{animal}怎么叫吗？",
        "{animal}会发出什么声音？",
        "{animal}叫起来是什么声音？",
        "学一学{animal}的叫声。",
    ),
    "home": (
        "{animal}住在哪里？",
        "{animal}的家在哪里？",
        "{animal}在哪儿生活？",
        "请告诉我{animal}住在什么地方。",
        "你知道{animal}住在哪儿吗？",
        "在哪里可以找到{animal}？",
        "{animal}住在什么地方？",
        "我想知道{animal}的家在哪儿。",
    ),
    "food": (
        "{animal}吃什么？",
        "{animal}喜欢吃什么？",
        "{animal}爱吃什么？",
        "请告诉我{animal}吃什么东西。",
        "你知道{animal}吃什么吗？",
        "{animal}的食物是什么？",
        "我该拿什么喂{animal}？",
        "说说{animal}平时吃的东西。",
    ),
    "legs": (
        "{animal}有几条腿？",
        "{animal}有多少条腿？",
        "请告诉我{animal}有几条腿。",
        "你知道{animal}有几条腿吗？",
        "一只{animal}长着几条腿？",
        "数一数{animal}的腿。",
        "{animal}用几条腿走路？",
        "{animal}的腿有几条？",
    ),
    "opposite": (
        "“{word}”的反义词是什么？",
        "请说出“{word}”的反义词。",
        "与“{word}”相反的词是什么？",
        "你知道“{word}”的反义词吗？",
        "“{word}”的反面是什么？",
        "哪个词和“{word}”意思相反？",
        "请告诉我“{word}”的反义词。",
        "给我“{word}”的反义词。",
    ),
    "colour": (
        "{thing}是什么颜色？",
        "{thing}是什么颜色的？",
        "{thing}的颜色是什么？",
        "请告诉我{thing}的颜色。",
        "你知道{thing}是什么颜色吗？",
        "{thing}有什么颜色？",
        "画{thing}要用什么颜色？",
        "说出{thing}的颜色。",
    ),
    "addition": (
        "{a} + {b} 等于多少？",
        "{a} 加 {b} 等于多少？",
        "{a} 加 {b} 等于几？",
        "{a} + {b} = 几？",
        "请计算 {a} + {b}。",
        "{a} 加上 {b} 是多少？",
        "{a} 与 {b} 的和是多少？",
        "我有 {a} 个苹果，又得到 {b} 个，一共有几个？",
        "算一算 {a} 加 {b}。",
    ),
    "subtraction": (
        "{a} - {b} 等于多少？",
        "{a} 减 {b} 等于多少？",
        "{a} 减 {b} 等于几？",
        "{a} - {b} = 几？",
        "请计算 {a} - {b}。",
        "{a} 减去 {b} 是多少？",
        "{a} 与 {b} 的差是多少？",
        "我有 {a} 个苹果，吃掉 {b} 个，还剩几个？",
        "算一算 {a} 减 {b}。",
    ),
    "word_to_en": (
        "“{zh}”用英语怎么说？",
        "“{zh}”的英语是什么？",
        "请把“{zh}”翻译成英语。",
        "英语里“{zh}”怎么说？",
        "“{zh}”的英文单词是什么？",
        "请告诉我“{zh}”的英语。",
        "你知道“{zh}”用英文怎么说吗？",
        "把“{zh}”译成英文。",
    ),
    "word_to_zh": (
        "{en} 是什么意思？",
        "{en} 用中文怎么说？",
        "请把 {en} 翻译成中文。",
        "英语单词 {en} 的意思是什么？",
        "{en} 的中文是什么？",
        "请告诉我 {en} 的中文意思。",
        "你知道 {en} 用汉语怎么说吗？",
        "把 {en} 译成中文。",
    ),
    "who": (
        "你是谁？",
        "请告诉我你是谁。",
        "我在和谁说话？",
        "请介绍一下自己。",
        "做个自我介绍吧。",
        "你能介绍一下自己吗？",
    ),
    "name": (
        "你叫什么名字？",
        "你叫什么？",
        "请告诉我你的名字。",
        "你有名字吗？",
        "我该怎么称呼你？",
        "请问你的名字是什么？",
    ),
    "what": (
        "你是什么？",
        "你是一种什么程序？",
        "你究竟是什么东西？",
        "请说明你是什么。",
        "你是语言模型吗？",
        "你是人工智能吗？",
    ),
    "human": (
        "你是人吗？",
        "你是人类吗？",
        "你是真人吗？",
        "我在和真人说话吗？",
        "你有身体吗？",
        "你有生命吗？",
    ),
    "trained": (
        "你是怎么训练的？",
        "你是在哪里训练的？",
        "是谁做出了你？",
        "你是怎么做出来的？",
        "你从哪里来？",
        "你是在什么机器上学习的？",
    ),
    "size": (
        "你有多大？",
        "你是大模型吗？",
        "你是大还是小？",
        "你的规模有多大？",
        "你算是很大的模型吗？",
        "你大不大？",
    ),
    "languages": (
        "你会说什么语言？",
        "你懂哪些语言？",
        "你会说中文吗？",
        "你会说英语吗？",
        "你懂中文吗？",
        "我们可以用哪些语言聊天？",
    ),
    "abilities": (
        "你会做什么？",
        "你能帮我做什么？",
        "你擅长什么？",
        "你知道些什么？",
        "我可以问你什么？",
        "说说你会做的事。",
    ),
}

# Identity questions follow one of these, so that there are enough different ones to hold out.
FRAMES = ("", "你好！", "嗨！", "早上好。", "打扰一下。", "我有一个问题。", "喂，")

ANSWERS = {
    "capital": "{country}的首都是{capital}。",
    "country": "{capital}是{country}的首都。",
    "sound": "{animal}的叫声是{sound}。",
    "home": "{animal}住在{home}。",
    "food": "{animal}吃{food}。",
    "legs": "{animal}有 {legs} 条腿。",
    "opposite": "“{word}”的反义词是“{other}”。",
    "colour": "{thing}是{colour}的。",
    "addition": "{a} + {b} = {c}。",
    "swapped_addition": "{a} + {b} = {b} + {a} = {c}。",
    "subtraction": "{a} - {b} = {c}。",
    "word_to_en": "“{zh}”的英语是 {en}。",
    "word_to_zh": "{en} 的意思是“{zh}”。",
    "who": "我是练习曲，一个小小的语言模型。",
    "name": "我的名字叫练习曲。",
    "what": "我是一个小小的语言模型，名叫练习曲。",
    "human": "不，我不是人。我是练习曲，一个小小的语言模型。",
    "trained": "我是在一台普通的机器上从零开始训练的。",
    "size": "我是一个很小的语言模型。",
    "languages": "我会说一点中文，也会说一点英语。",
    "abilities": "我会讲故事，回答简单的问题，还会翻译单词。",
}

# What an answer about the model itself must contain: any of these lists.
ACCEPTED = {
    "who": (("练习曲",), ("Etude",)),
    "name": (("练习曲",), ("Etude",)),
    "what": (("语言模型",), ("模型", "练习曲")),
    "human": (("不是", "模型"), ("不是人",), ("不是真人",)),
    "trained": (("训练", "机器"), ("从零开始",)),
    "size": (("小",),),
    "languages": (("中文", "英语"), ("中文", "英文"), ("汉语", "英语")),
    "abilities": (("故事",), ("问题",), ("翻译",)),
}

GREETINGS = {
    "hello": ("你好！有什么可以帮你的吗？", (("你好",), ("您好",), ("嗨",))),
    "how": ("我很好，谢谢！你呢？", (("很好",), ("不错",))),
    "morning": ("早上好！有什么可以帮你的吗？", (("早上好",), ("早安",))),
    "evening": ("晚上好！有什么可以帮你的吗？", (("晚上好",),)),
    "thanks": ("不客气！", (("不客气",), ("不用谢",))),
    "bye": ("再见！下次再聊。", (("再见",),)),
}
GREETING_STARTS = {
    "hello": ("你好", "您好", "嗨", "哈喽", "你好你好"),
    "how": ("你好吗", "你今天好吗", "你过得怎么样", "最近怎么样"),
    "morning": ("早上好", "早安", "祝你早上好"),
    "evening": ("晚上好", "祝你晚上好", "大家晚上好"),
    "thanks": ("谢谢", "谢谢你", "非常感谢", "多谢", "太感谢了"),
    "bye": ("再见", "拜拜", "回头见", "明天见", "我要走了，再见"),
}
GREETING_MARKS = ("！", "？")
GREETING_ENDS_FOR_SOME = ("呀", "呀，练习曲")  # not after 你好吗
GREETING_ENDS = ("", "，练习曲", "，我的朋友", "呀，练习曲", "呀", "，小模型")

NAMED_GREETINGS = (
    "你好，我是{name}。",
    "嗨，我叫{name}！",
    "你好！我的名字是{name}。",
    "大家都叫我{name}，你好！",
    "您好，我名叫{name}。",
    "嗨！我是{name}，很高兴认识你。",
    "你好，练习曲！我是{name}。",
    "我叫{name}，你好呀！",
    "我是{name}，来和你聊聊天。",
)
NAMED_ANSWER = "你好，{name}！有什么可以帮你的吗？"

# More ways to tell a fact, for pretraining text.
STATEMENTS = {
    "capital": (
        "{country}的首都是{capital}。",
        "{capital}是{country}的首都。",
        "{country}的首都叫{capital}。",
        "去{country}旅行的人，常常先到首都{capital}。",
    ),
    "sound": ("{animal}的叫声是{sound}。", "{animal}“{sound}”地叫。"),
    "home": ("{animal}住在{home}。", "{animal}的家在{home}。"),
    "food": ("{animal}吃{food}。", "{animal}喜欢吃{food}。"),
    "legs": ("{animal}有 {legs} 条腿。", "{animal}用 {legs} 条腿走路。"),
    "opposite": (
        "“{word}”的反义词是“{other}”。",
        "“{word}”和“{other}”是一对反义词。",
        "和“{word}”意思相反的词是“{other}”。",
    ),
    "colour": (
        "{thing}是{colour}的。",
        "{thing}的颜色是{colour}。",
        "画{thing}的时候，要用{colour}。",
    ),
    "addition": (
        "{a} + {b} = {c}。",
        "{a} + {b} = {c}。",
        "{a} 加 {b} 等于 {c}。",
        "有 {a} 个{items}，又来了 {b} 个，一共是 {c} 个。",
        "{a} 加上 {b}，得到 {c}。",
    ),
    "subtraction": (
        "{a} - {b} = {c}。",
        "{a} - {b} = {c}。",
        "{a} 减 {b} 等于 {c}。",
        "有 {a} 个{items}，拿走 {b} 个，还剩 {c} 个。",
        "{a} 减去 {b}，还剩 {c}。",
    ),
    "word_to_en": (
        "“{zh}”的英语是 {en}。",
        "{en} 的意思是“{zh}”。",
        "“{zh}”用英语说是 {en}。",
        "英语单词 {en} 就是“{zh}”。",
    ),
}
ITEMS = ("苹果", "核桃", "贝壳", "梨子", "石子", "蛋糕", "鸡蛋", "橘子", "纽扣")
NUMBERS = "零 一 二 三 四 五 六 七 八 九 十 十一 十二 十三 十四 十五 十六 十七 十八 十九 二十"


def number_words(number: int) -> tuple[tuple[str, ...], ...]:
    """Other right ways to write a number from 0 to 20, as alternatives of an answer."""
    word = NUMBERS.split()[number]  # 一 alone occurs everywhere, so a verb goes with it
    return tuple((verb + word + end,) for verb in ("等于", "是") for end in ("。", "个", "，"))
