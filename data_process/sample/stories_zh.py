"""Little Chinese stories: a hero, a problem, what was done about it, and an end.

Slots: {name}, {kind} (狐狸) and {measure} (只) for the hero; {friend} (a name), {friend_kind} for
the helper; {place}, {weather}, {colour}, {trait}.
"""

import random

from data_process.sample.plots import Plot

PLACES = (
    "小河边",
    "森林里",
    "山坡上",
    "安静的山谷里",
    "湖边",
    "一个旧花园里",
    "大树下",
    "村子旁边",
    "大海边",
    "旧磨坊后面",
)
WEATHERS = ("晴朗", "下雨", "刮风", "寒冷", "温暖", "下雪", "有雾", "凉爽")
COLOURS = ("红色", "蓝色", "绿色", "黄色", "白色", "棕色", "紫色")
TRAITS = ("好奇", "善良", "勇敢", "害羞", "聪明", "快活", "细心", "温柔", "耐心")
PEOPLE = ("小姑娘", "小男孩", "农民", "面包师", "水手", "老师", "园丁", "学生")
HELPERS = ("猫头鹰", "老鼠", "兔子", "熊", "青蛙", "松鼠", "乌龟", "鸭子", "山羊")
MEASURES = {"狗": "条", "狼": "匹", "猪": "头", "大象": "头", "熊": "头", "鹿": "头", "狮子": "头"}


PLOTS = (
    Plot(
        "一个{weather}的日子，{name}把{colour}的皮球弄丢了。",
        "{name}[到处找|在草丛里找|在石头后面找]，可是怎么也找不到。",
        "“你在找什么？”一只{friend_kind}问。“我的皮球。”{name}说。“我叫{friend}，我们一起找吧。”",
        "这时，一只叫{friend}的{friend_kind}来帮忙，他们在[洞里|泥里|树丛下]找到了皮球。",
        "{name}谢谢{friend}，他们一起玩到[太阳下山|天黑]。",
    ),
    Plot(
        "一个{weather}的日子，{name}看见河上的桥断了。",
        "{name}想过河，可是河水[很深|很冷|很急]。",
        "“我过不去。”{name}说。“那就造一座新桥吧。”一只{friend_kind}说，“我叫{friend}，我有绳子。”",
        "{name}请一只叫{friend}的{friend_kind}帮忙，一起把[木头|石头|木板]搬到河边。",
        "傍晚，新桥造好了，{name}第一个走了过去。",
    ),
    Plot(
        "一天夜里，大风呼呼地吹，{name}睡不着。",
        "{name}[躲进被子里|闭上眼睛|数着星星]，可是心里还是害怕。",
        "“你也没睡吗？”窗外的{friend_kind}小声问。“我害怕。”{name}说。“我叫{friend}，我来陪你。”",
        "这时，一只叫{friend}的{friend_kind}来了，唱了一首[轻轻的|古老的|好听的]歌。",
        "风慢慢停了，{name}一觉睡到了早晨。",
    ),
    Plot(
        "一个{weather}的日子，{name}在草地上捡到一个{colour}的蛋。",
        "{name}用[干树叶|围巾|软软的草]盖住它，让它暖和。",
        "“这是谁的蛋？”{name}问。“是我的！”一只{friend_kind}喊道，“我叫{friend}，我找了一整天。”",
        "过了一会儿，一只叫{friend}的{friend_kind}走来，它正在找这个蛋。",
        "{name}把蛋还给了它，第二天，一只小鸟从蛋里钻了出来。",
    ),
    Plot(
        "一个{weather}的日子，{name}想摘高高的树枝上的[苹果|梨|樱桃]。",
        "{name}跳了又跳，可是树枝太高了。",
        "“你一个人够不到，我也够不到。”一只叫{friend}的{friend_kind}说。“那怎么办？”{name}问。"
        "“站到我背上来！”{friend}说。",
        "于是{name}去找一只叫{friend}的{friend_kind}，一个站在另一个的背上。",
        "他们摘到了果子，一起分着吃，笑了[一整天|很久]。",
    ),
    Plot(
        "一个{weather}的日子，{name}找不到回家的路了。",
        "{name}[左看右看|走来走去|跑上跑下]，可是每棵树都一样。",
        "“你为什么难过？”一只{friend_kind}问。“我找不到家了。”{name}说。“跟我来，我叫{friend}，我认识路。”",
        "这时，一只叫{friend}的{friend_kind}提着[一盏小灯|明亮的灯笼]，给{name}带路。",
        "{name}平安回到家，请{friend}[喝热汤|吃蛋糕|喝茶]。",
    ),
    Plot(
        "一个{weather}的日子，{name}想做蛋糕，可是家里没有蜂蜜。",
        "{name}去问蜜蜂，蜜蜂说要先得到[鲜花|一首歌|一个故事]。",
        "“可以给我一点蜂蜜吗？”{name}问。“请先带一件漂亮的礼物。”蜜蜂们说。“我来帮你。”一只"
        "{friend_kind}说，“我叫{friend}。”",
        "一只叫{friend}的{friend_kind}来帮忙，{name}终于得到了蜂蜜。",
        "蛋糕很甜，{name}和{friend}一起吃完了它。",
    ),
    Plot(
        "一个{weather}的日子，{name}遇见一只叫{friend}的{friend_kind}，它的脚受伤了。",
        "{name}给它洗了脚，包上[{colour}的布|绿色的叶子]。",
        "“疼吗？”{name}问。“只有一点疼。”{friend}说，“你真好。”",
        "然后{name}一步一步地把{friend}送回了家。",
        "一个星期后，{friend}又能跑了，送给{name}[一朵花|一个贝壳|一篮坚果]。",
    ),
    Plot(
        "一个{weather}的日子，{name}种下一颗种子，等着开花。",
        "{name}等了[三天|一个星期|很多天]，可是什么也没有长出来。",
        "“我的种子睡着了。”{name}说。“它只是渴了。”一只叫{friend}的{friend_kind}说，“每天早上给它浇水吧。”",
        "一只叫{friend}的{friend_kind}告诉{name}，要每天早上浇水。",
        "最后，一朵{colour}的花开了，{name}高兴地围着它跳舞。",
    ),
    Plot(
        "一个{weather}的日子，{name}看见树上挂着一只{colour}的风筝。",
        "{name}拉了拉线，可是风筝卡住了。",
        "“那是我的风筝！”一只{friend_kind}喊道，“我叫{friend}。”“{friend}，快来和我一起拉。”{name}说。",
        "风筝的主人是一只叫{friend}的{friend_kind}，它跑来和{name}一起拉。",
        "风筝下来了，他们[在山坡上|在蓝天下]一起放风筝。",
    ),
    Plot(
        "一个{weather}的日子，{name}想学[游泳|跳舞|唱歌|画画]。",
        "{name}试了一次又一次，可是很难学会。",
        "“我永远学不会。”{name}说。“别急。”一只叫{friend}的{friend_kind}说，“再试一次，我看着你。”",
        "一只叫{friend}的{friend_kind}慢慢地教{name}。",
        "几天以后，{name}学会了，大家都鼓起掌来。",
    ),
    Plot(
        "一个{weather}的日子，{name}的{colour}小船破了一个洞。",
        "{name}用[树叶|泥巴|木塞]堵住洞，可是水还是流进来。",
        "“你的船在哭呢。”一只{friend_kind}笑着说。“别笑，快来帮忙！”{name}说。“好吧，我叫{friend}。”",
        "一只叫{friend}的{friend_kind}拿来一块木板，他们一起修好了船。",
        "傍晚，{name}和{friend}一起划船[去小岛|到对岸]。",
    ),
    Plot(
        "一个{weather}的日子，{name}听见深深的坑里有哭声。",
        "{name}往下一看，一只叫{friend}的{friend_kind}掉在里面。",
        "“{friend}，别怕。”{name}喊道，“我来救你。”“请快一点。”{friend}说。{name}放下了一根绳子。",
        "{name}放下一根长长的[绳子|树枝|围巾]，用力往上拉。",
        "{friend}出来了，从那天起，他们成了好朋友。",
    ),
    Plot(
        "今天是{name}的生日，可是没有客人来。",
        "{name}坐在门口，觉得很[孤单|难过]。",
        "“没有人来吗？”{name}叹了一口气。“我们来了！”树后的{friend_kind}{friend}笑着说。",
        "这时，一只叫{friend}的{friend_kind}带着[蛋糕|一篮苹果|鲜花]来了，许多朋友也来了。",
        "大家唱歌跳舞，{name}高兴极了。",
    ),
    Plot(
        "一个{weather}的日子，{name}在花园里捡到一把旧钥匙。",
        "{name}试了每一扇门，可是都打不开。",
        "“它能打开哪扇门呢？”{name}问。“也许不是门。”一只叫{friend}的{friend_kind}说，“也许是一个盒子。”他们在"
        "屋顶下找到了一个{colour}的盒子。",
        "一只叫{friend}的{friend_kind}搬来一个{colour}的盒子，钥匙正好打开了它。",
        "盒子里有[一个音乐盒|一张地图|一本旧书]，{name}和{friend}一起看了很久。",
    ),
)

OPENING = "从前，{place}住着{measure}{trait}的{kind}，名叫{name}。"
LONG_OPENINGS = (
    OPENING,
    "{place}住着{measure}{kind}，名字叫{name}。{name}很{trait}。",
    "很久以前，有{measure}{kind}叫{name}，住在{place}。",
    "这是{name}的故事。{name}是{measure}{trait}的{kind}，住在{place}。",
)
SCENES = (
    "",
    "大家都喜欢{name}，因为{name}很{trait}。",
    "每天早上，{name}都要[扫地|看云|唱一首歌|喝一杯茶]。",
    "{name}最喜欢[听故事|听音乐|安静的傍晚|散步]。",
)
CLOSINGS = (
    "",
    "“谢谢你，{friend}。”{name}说。“不客气，{name}。”{friend}说。",
    "“今天真有意思！”{name}说。“是啊，真有意思。”{friend}说。",
    "从此以后，{name}和{friend}每个星期都见面。",
    "后来有人问起这件事，{name}总是笑着讲这个故事。",
    "{name}明白了：遇到困难，可以请朋友帮忙。",
)


def story_slots(kind: str, name: str, friend: str, rng: random.Random) -> dict[str, str]:
    """Everything that the plots need to know about a hero (kind, name) and a friend (name)."""
    measure = "一个" if kind in PEOPLE else "一" + MEASURES.get(kind, "只")
    return {
        "name": name,
        "kind": kind,
        "measure": measure,
        "friend": friend,
        "friend_kind": rng.choice([helper for helper in HELPERS if helper != kind]),
        "place": rng.choice(PLACES),
        "weather": rng.choice(WEATHERS),
        "colour": rng.choice(COLOURS),
        "trait": rng.choice(TRAITS),
    }
