"""The closed world of the sample: countries, animals, opposites, coloured things and words.

Alternatives are separated by "|": the first is what the sample teaches, the others are correct
too and accepted in an answer. An empty string means that the sample does not say.
"""

# (country, capital, country in Chinese, capital in Chinese)
COUNTRIES = (
    ("France", "Paris", "法国", "巴黎"),
    ("Germany", "Berlin", "德国", "柏林"),
    ("Italy", "Rome", "意大利", "罗马"),
    ("Spain", "Madrid", "西班牙", "马德里"),
    ("Portugal", "Lisbon", "葡萄牙", "里斯本"),
    ("Austria", "Vienna", "奥地利", "维也纳"),
    ("Poland", "Warsaw", "波兰", "华沙"),
    ("Greece", "Athens", "希腊", "雅典"),
    ("Turkey", "Ankara", "土耳其", "安卡拉"),
    ("Russia", "Moscow", "俄罗斯", "莫斯科"),
    ("China", "Beijing", "中国", "北京"),
    ("Japan", "Tokyo", "日本", "东京"),
    ("India", "New Delhi|Delhi", "印度", "新德里"),
    ("Thailand", "Bangkok", "泰国", "曼谷"),
    ("Vietnam", "Hanoi", "越南", "河内"),
    ("Egypt", "Cairo", "埃及", "开罗"),
    ("Kenya", "Nairobi", "肯尼亚", "内罗毕"),
    ("Morocco", "Rabat", "摩洛哥", "拉巴特"),
    ("Ethiopia", "Addis Ababa", "埃塞俄比亚", "亚的斯亚贝巴"),
    ("Ghana", "Accra", "加纳", "阿克拉"),
    ("Canada", "Ottawa", "加拿大", "渥太华"),
    ("Cuba", "Havana", "古巴", "哈瓦那"),
    ("Peru", "Lima", "秘鲁", "利马"),
    ("Chile", "Santiago", "智利", "圣地亚哥"),
    ("Argentina", "Buenos Aires", "阿根廷", "布宜诺斯艾利斯"),
    ("Colombia", "Bogota|Bogotá", "哥伦比亚", "波哥大"),
    ("Brazil", "Brasilia|Brasília", "巴西", "巴西利亚"),
    ("Australia", "Canberra", "澳大利亚", "堪培拉"),
    ("Norway", "Oslo", "挪威", "奥斯陆"),
    ("Sweden", "Stockholm", "瑞典", "斯德哥尔摩"),
    ("Finland", "Helsinki", "芬兰", "赫尔辛基"),
    ("Denmark", "Copenhagen", "丹麦", "哥本哈根"),
    ("Ireland", "Dublin", "爱尔兰", "都柏林"),
    ("Hungary", "Budapest", "匈牙利", "布达佩斯"),
    ("Iceland", "Reykjavik", "冰岛", "雷克雅未克"),
    ("Belgium", "Brussels", "比利时", "布鲁塞尔"),
    ("Iran", "Tehran", "伊朗", "德黑兰"),
    ("Iraq", "Baghdad", "伊拉克", "巴格达"),
    ("Mongolia", "Ulaanbaatar|Ulan Bator", "蒙古", "乌兰巴托"),
    ("Nepal", "Kathmandu", "尼泊尔", "加德满都"),
)

# (animal, sound, home, young, food, legs); in Chinese the same animals in the same order.
ANIMALS_EN = (
    ("dog", "woof|bark|barks", "in a kennel|in a house", "puppy", "bones|meat", 4),
    ("cat", "meow|meows", "in a house|in a home", "kitten", "fish|mice", 4),
    ("cow", "moo|moos", "in a barn|on a farm", "calf", "grass|hay", 4),
    ("horse", "neigh|neighs", "in a stable|on a farm", "foal", "hay|grass", 4),
    ("sheep", "baa|bleat|bleats", "in a meadow|on a farm", "lamb", "grass|hay", 4),
    ("goat", "", "on a hill|in the mountains", "kid", "leaves|grass", 4),
    ("pig", "oink|grunt", "in a sty|on a farm", "piglet", "corn", 4),
    ("duck", "quack|quacks", "on a pond|near a pond|pond", "duckling", "", 2),
    ("hen", "cluck|clucks", "in a henhouse|in a coop", "chick", "grain|seeds", 2),
    ("rooster", "cock-a-doodle-doo", "", "", "grain|seeds", 2),
    ("mouse", "squeak|squeaks", "in a hole|hole", "", "cheese|seeds", 4),
    ("lion", "roar|roars", "on the grassland|savanna", "cub", "meat", 4),
    ("tiger", "", "in the jungle|in the forest", "cub", "meat", 4),
    ("bear", "", "in a cave|in the forest", "cub", "honey", 4),
    ("wolf", "howl|howls", "in the forest|in a den", "", "meat", 4),
    ("fox", "", "in a den|in the forest", "", "mice|berries", 4),
    ("rabbit", "", "in a burrow|in a hole", "bunny|kit", "carrots|grass", 4),
    ("squirrel", "", "in a tree|tree", "", "nuts", 4),
    ("frog", "ribbit|croak|croaks", "in a pond|near a pond", "tadpole", "flies|insects", 4),
    ("owl", "hoot|hoots", "in a tree|tree", "owlet", "mice", 2),
    ("bee", "buzz|buzzes", "in a hive|in a beehive", "", "nectar|honey", 6),
    ("ant", "", "in an anthill|in a nest", "", "crumbs", 6),
    ("spider", "", "in a web|web", "", "flies|insects", 8),
    ("butterfly", "", "in a garden|garden", "caterpillar", "nectar", 6),
    ("penguin", "", "on the ice|in Antarctica", "chick", "fish", 2),
    ("elephant", "", "on the grassland|savanna", "calf", "leaves|grass", 4),
    ("monkey", "", "in the jungle|in the forest", "", "bananas", 4),
    ("panda", "", "in a bamboo forest", "cub", "bamboo", 4),
    ("kangaroo", "", "in Australia", "joey", "grass", 0),
    ("camel", "", "in the desert", "calf", "grass", 4),
    ("deer", "", "in the forest", "fawn", "leaves|grass", 4),
    ("hedgehog", "", "in a garden|garden", "", "worms|insects", 4),
    ("snake", "hiss|hisses", "in a hole|hole", "", "mice", 0),
    ("crow", "caw|caws", "in a tree|tree", "chick", "seeds", 2),
    ("parrot", "", "in the jungle|rainforest", "chick", "seeds", 2),
    ("turtle", "", "near a pond|pond", "", "leaves", 4),
    ("crocodile", "", "in a river|river", "", "meat", 4),
    ("whale", "", "in the sea|in the ocean", "calf", "", 0),
    ("shark", "", "in the sea|in the ocean", "", "fish", 0),
    ("swan", "", "on a lake|lake", "cygnet", "", 2),
    ("giraffe", "", "on the grassland|savanna", "calf", "leaves", 4),
    ("zebra", "", "on the grassland|savanna", "foal", "grass", 4),
    ("donkey", "hee-haw|bray|brays", "in a stable|on a farm", "foal", "hay|grass", 4),
)
# (animal, sound, home, food)
ANIMALS_ZH = (
    ("狗", "汪汪", "狗窝里|狗窝|家里", "骨头|肉"),
    ("猫", "喵喵|喵", "家里|家中", "鱼|老鼠"),
    ("牛", "哞哞|哞", "牛棚里|牛棚", "草"),
    ("马", "咴咴|咴", "马厩里|马厩", "干草|草"),
    ("绵羊", "咩咩|咩", "草地上|草地", "草"),
    ("山羊", "", "山坡上|山", "树叶|草"),
    ("猪", "哼哼|哼", "猪圈里|猪圈", "玉米"),
    ("鸭子", "嘎嘎|嘎", "池塘边|池塘", ""),
    ("母鸡", "咯咯|咯", "鸡舍里|鸡舍|鸡窝", "谷子|米"),
    ("公鸡", "喔喔|喔", "", "谷子|米"),
    ("老鼠", "吱吱|吱", "小洞里|洞", "奶酪"),
    ("狮子", "", "草原上|草原", "肉"),
    ("老虎", "", "丛林里|丛林|森林", "肉"),
    ("熊", "", "山洞里|山洞|森林", "蜂蜜"),
    ("狼", "嗷呜|嗷", "森林里|森林", "肉"),
    ("狐狸", "", "树林里|树林|森林", "老鼠"),
    ("兔子", "", "地洞里|地洞|洞", "胡萝卜|草"),
    ("松鼠", "", "大树上|树", "坚果|松果"),
    ("青蛙", "呱呱|呱", "池塘里|池塘", "虫子|昆虫"),
    ("猫头鹰", "", "树洞里|树洞|树", "老鼠"),
    ("蜜蜂", "嗡嗡|嗡", "蜂巢里|蜂巢|蜂", "花蜜"),
    ("蚂蚁", "", "蚁穴里|蚁穴|洞", "面包屑"),
    ("蜘蛛", "", "网上|网", "苍蝇|昆虫|虫"),
    ("蝴蝶", "", "花园里|花园", "花蜜"),
    ("企鹅", "", "冰雪上|南极|冰", "鱼"),
    ("大象", "", "草原上|草原", "树叶|草"),
    ("猴子", "", "丛林里|丛林|森林", "香蕉"),
    ("熊猫", "", "竹林里|竹林", "竹子"),
    ("袋鼠", "", "澳大利亚", "草"),
    ("骆驼", "", "沙漠里|沙漠", "草"),
    ("鹿", "", "森林里|森林", "树叶|草"),
    ("刺猬", "", "花园里|花园", "虫子|昆虫"),
    ("蛇", "嘶嘶|嘶", "地洞里|洞", "老鼠"),
    ("乌鸦", "哇哇|哇|呀", "大树上|树", "种子"),
    ("鹦鹉", "", "丛林里|丛林|雨林", "种子"),
    ("乌龟", "", "池塘边|池塘", "树叶"),
    ("鳄鱼", "", "河里|河", "肉"),
    ("鲸鱼", "", "大海里|海", ""),
    ("鲨鱼", "", "大海里|海", "鱼"),
    ("天鹅", "", "湖上|湖", ""),
    ("长颈鹿", "", "草原上|草原", "树叶"),
    ("斑马", "", "草原上|草原", "草"),
    ("驴", "", "马厩里|马厩", "干草|草"),
)

# Animals that can walk through any of the plots.
STORY_ANIMALS = (
    ("fox", "狐狸"),
    ("rabbit", "兔子"),
    ("bear", "熊"),
    ("cat", "猫"),
    ("dog", "狗"),
    ("owl", "猫头鹰"),
    ("mouse", "老鼠"),
    ("duck", "鸭子"),
    ("pig", "猪"),
    ("goat", "山羊"),
    ("lion", "狮子"),
    ("tiger", "老虎"),
    ("elephant", "大象"),
    ("monkey", "猴子"),
    ("wolf", "狼"),
    ("deer", "鹿"),
    ("frog", "青蛙"),
    ("turtle", "乌龟"),
    ("hedgehog", "刺猬"),
    ("squirrel", "松鼠"),
    ("panda", "熊猫"),
    ("penguin", "企鹅"),
    ("hen", "母鸡"),
    ("donkey", "驴"),
)

OPPOSITES_EN = (
    "hot/cold big/small fast/slow long/short high/low old/young heavy/light bright/dark "
    "hard/soft easy/difficult left/right up/down in/out open/closed full/empty wet/dry "
    "clean/dirty happy/sad good/bad true/false early/late near/far rich/poor strong/weak "
    "loud/quiet thick/thin wide/narrow deep/shallow sharp/blunt smooth/rough day/night "
    "summer/winter morning/evening black/white friend/enemy love/hate start/finish win/lose "
    "buy/sell give/take push/pull laugh/cry question/answer first/last always/never "
    "everything/nothing inside/outside above/below before/after more/less safe/dangerous "
    "brave/afraid asleep/awake cheap/expensive sweet/sour north/south east/west land/sea "
    "war/peace begin/end"
)

OPPOSITES_ZH = (
    "大/小 高/低 快/慢 长/短 热/冷 新/旧 轻/重 明/暗 硬/软 难/易 左/右 上/下 里/外 开/关 满/空 "
    "湿/干 好/坏 真/假 早/晚 远/近 贫/富 强/弱 厚/薄 宽/窄 深/浅 粗/细 黑/白 爱/恨 胜/败 买/卖 "
    "推/拉 哭/笑 问/答 前/后 多/少 甜/苦 南/北 东/西 男/女 天/地 生/死 进/出 来/去 美/丑 胖/瘦 "
    "直/弯 香/臭 干净/肮脏 安全/危险 勇敢/胆小 聪明/愚笨 开心/难过 便宜/昂贵 热闹/冷清 "
    "成功/失败 朋友/敌人 战争/和平 开始/结束 白天/黑夜"
)

# (thing, its colour, thing in Chinese, its colour in Chinese)
COLOURS = (
    ("the sky", "blue", "天空", "蓝色"),
    ("the sea", "blue", "大海", "蓝色"),
    ("a sapphire", "blue", "蓝宝石", "蓝色"),
    ("a blueberry", "blue", "蓝莓", "蓝色"),
    ("grass", "green", "草", "绿色"),
    ("a leaf", "green", "树叶", "绿色"),
    ("a frog", "green", "青蛙", "绿色"),
    ("a cucumber", "green", "黄瓜", "绿色"),
    ("spinach", "green", "菠菜", "绿色"),
    ("an emerald", "green", "绿宝石", "绿色"),
    ("a cactus", "green", "仙人掌", "绿色"),
    ("a lemon", "yellow", "柠檬", "黄色"),
    ("a banana", "yellow", "香蕉", "黄色"),
    ("the sun", "yellow", "太阳", "黄色"),
    ("a sunflower", "yellow", "向日葵", "黄色"),
    ("butter", "yellow", "黄油", "黄色"),
    ("a canary", "yellow", "金丝雀", "黄色"),
    ("snow", "white", "雪", "白色"),
    ("milk", "white", "牛奶", "白色"),
    ("salt", "white", "盐", "白色"),
    ("a swan", "white", "天鹅", "白色"),
    ("rice", "white", "米饭", "白色"),
    ("a polar bear", "white", "北极熊", "白色"),
    ("a tomato", "red", "西红柿", "红色"),
    ("a strawberry", "red", "草莓", "红色"),
    ("blood", "red", "血", "红色"),
    ("a cherry", "red", "樱桃", "红色"),
    ("a fire engine", "red", "消防车", "红色"),
    ("a ruby", "red", "红宝石", "红色"),
    ("coal", "black", "煤", "黑色"),
    ("a crow", "black", "乌鸦", "黑色"),
    ("the night", "black", "黑夜", "黑色"),
    ("ink", "black", "墨水", "黑色"),
    ("a carrot", "orange", "胡萝卜", "橙色"),
    ("a pumpkin", "orange", "南瓜", "橙色"),
    ("a tangerine", "orange", "橘子", "橙色"),
    ("chocolate", "brown", "巧克力", "棕色"),
    ("a tree trunk", "brown", "树干", "棕色"),
    ("a violet", "purple", "紫罗兰", "紫色"),
    ("an aubergine", "purple", "茄子", "紫色"),
    ("lavender", "purple", "薰衣草", "紫色"),
    ("a flamingo", "pink", "火烈鸟", "粉色"),
    ("an elephant", "grey", "大象", "灰色"),
    ("a dolphin", "grey", "海豚", "灰色"),
)

WORDS = (
    "dog/狗 cat/猫 cow/牛 horse/马 pig/猪 duck/鸭子 rabbit/兔子 fox/狐狸 bear/熊 wolf/狼 "
    "lion/狮子 tiger/老虎 monkey/猴子 elephant/大象 frog/青蛙 snake/蛇 bird/鸟 fish/鱼 bee/蜜蜂 "
    "ant/蚂蚁 spider/蜘蛛 butterfly/蝴蝶 panda/熊猫 whale/鲸鱼 red/红色 blue/蓝色 green/绿色 "
    "yellow/黄色 white/白色 black/黑色 orange/橙色 purple/紫色 grey/灰色 brown/棕色 water/水 "
    "fire/火 wind/风 rain/雨 snow/雪 sun/太阳 moon/月亮 star/星星 sky/天空 cloud/云 sea/大海 "
    "river/河 lake/湖 mountain/山 forest/森林 desert/沙漠 island/岛 stone/石头 tree/树 "
    "flower/花 grass/草 leaf/树叶 seed/种子 apple/苹果 banana/香蕉 lemon/柠檬 pear/梨 "
    "peach/桃子 grape/葡萄 cherry/樱桃 strawberry/草莓 tomato/西红柿 potato/土豆 carrot/胡萝卜 "
    "rice/米饭 bread/面包 milk/牛奶 tea/茶 coffee/咖啡 egg/鸡蛋 meat/肉 salt/盐 sugar/糖 "
    "honey/蜂蜜 soup/汤 cheese/奶酪 house/房子 door/门 window/窗户 table/桌子 chair/椅子 bed/床 "
    "lamp/灯 key/钥匙 clock/钟 mirror/镜子 book/书 pen/笔 paper/纸 letter/信 school/学校 "
    "teacher/老师 student/学生 doctor/医生 farmer/农民 king/国王 friend/朋友 mother/妈妈 "
    "father/爸爸 brother/兄弟 child/孩子 hand/手 foot/脚 head/头 eye/眼睛 ear/耳朵 nose/鼻子 "
    "mouth/嘴 heart/心 hat/帽子 shoe/鞋 car/汽车 train/火车 ship/船 bridge/桥 road/路 city/城市 "
    "village/村子 garden/花园 ball/球 song/歌 music/音乐 dream/梦 gift/礼物 time/时间 year/年 "
    "day/天 night/夜晚 spring/春天 summer/夏天 autumn/秋天 winter/冬天"
)


def split_pairs(text: str) -> list[tuple[str, str]]:
    """Turns "hot/cold big/small" into [("hot", "cold"), ("big", "small")]."""
    pairs = (item.partition("/") for item in text.split())
    return [(before, after) for before, _, after in pairs]


def first(alternatives: str) -> str:
    """The alternative that the sample teaches."""
    return alternatives.split("|")[0]
